#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks that the man pages are clean mdoc, and that each has exactly the options of --help.
# Usage: test_pages.sh PROGRAM FOLDER-OF-PAGES
set -u
program=$1 folder=$2
failed=0 checked=0

complain() {
    echo "$*"
    failed=1
}

# The options that a page explains (its .It lines), one a line, sorted.
of_page() {
    sed -nE 's/^\.It Fl ([a-zA-Z] , )?-([a-z-]+)( .*)?$/--\2/p' "$1" | sort
}

# The options in --help of the given words, one a line, sorted.
of_help() {
    "$program" "$@" --help | sed -nE 's/^  (-., |    )(--[a-z-]+).*/\2/p' | sort
}

common=$(of_help)
[[ -n $common ]] || complain "--help lists no options"
diff <(of_page "$folder/mudanza.1") <(echo "$common") ||
    complain "mudanza.1 (<) and --help (>) differ in the options of every command"

commands=$("$program" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z ]+[a-z])  +.*/\1/p')
[[ -n $commands ]] || complain "--help lists no commands"
mapfile -t firsts < <(cut -d' ' -f1 <<<"$commands" | sort -u)
for first in "${firsts[@]}"; do
    page=$folder/mudanza-$first.1
    [[ -f $page ]] || { complain "$first has no page"; continue; }
    grep -q "^\.Xr mudanza-$first 1" "$folder/mudanza.1" || complain "mudanza.1 has no link to $page"
    options=
    while read -r -a command; do
        [[ ${command[0]} == "$first" ]] || continue
        options+=$(of_help "${command[@]}")$'\n'
        grep -q "^\.Nm mudanza ${command[*]}$" "$page" || complain "$page has no synopsis of ${command[*]}"
        grep -q "^\.It Cm ${command[*]}$" "$folder/mudanza.1" || complain "mudanza.1 does not list ${command[*]}"
        ((checked++))
    done <<<"$commands"
    diff <(of_page "$page") <(echo "$options" | grep -vxF -e "$common" -e '' | sort) ||
        complain "$page (<) and --help (>) differ"
done
((checked > 10)) || complain "only $checked commands seen"

if command -v mandoc >/dev/null; then
    mandoc -Tlint -W warning "$folder"/mudanza.1 "$folder"/mudanza-*.1 || complain "mandoc has findings"
fi
exit $failed
