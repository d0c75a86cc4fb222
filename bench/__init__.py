# SPDX-License-Identifier: Apache-2.0
"""The benchmark: Mudanza and its peers, side by side in one run."""
