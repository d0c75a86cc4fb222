# SPDX-License-Identifier: Apache-2.0
"""What integration tests are made of: hosts in network namespaces, agents on them, guests.

    class Moves(LabCase):
        def test_live(self):
            a, b = self.agents("A", "B")            # two agents that know each other
            a.define(guest.bare(self.lab, "vm1"))
            a.cli("start", "vm1")
            report = a.migrate("vm1", "B", "--live", "--verify")
            self.assertEqual(report["outcome"], "completed")
"""

from . import guest, paths
from .agent import Agent, AgentError, CliError
from .case import LabCase
from .lab import Host, Lab
from .varlink import VarlinkError

__all__ = ["Agent", "AgentError", "CliError", "Host", "Lab", "LabCase", "VarlinkError", "guest",
           "paths"]
