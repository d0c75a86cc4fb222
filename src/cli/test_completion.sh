#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks that completion offers every command and option of --help, and names where names belong.
# Usage: test_completion.sh PROGRAM COMPLETION
set -u
real=$1
# shellcheck source=/dev/null
source "$2"
failed=0

# Stands in for the program: answers what only an agent could, else is the program.
# shellcheck disable=SC2317 # called by the completion
fake() {
    case "$*" in
    "list --all --name") printf 'web\ndb\n' ;;
    "--connect /there list --all --name") printf 'far\n' ;;
    "host list --name") printf 'beta\ngamma\n' ;;
    *) "$real" "$@" ;;
    esac
}

# What is offered for the last of the given words, in one line.
offered() {
    COMP_WORDS=(fake "$@")
    COMP_CWORD=$#
    _mudanza
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
}

# expect WORDS OFFERED: the words are split at spaces; the last one is empty after a final space.
expect() {
    local words got
    IFS=' ' read -r -a words <<<"$1"
    [[ $1 == *' ' || -z $1 ]] && words+=("")
    got=$(offered "${words[@]}")
    if [[ $got != "$2 " ]]; then
        echo "after '$1': expected '$2', offered '$got'"
        failed=1
    fi
}

commands=$("$real" --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z ]+[a-z])  +.*/\1/p')
[[ -n $commands ]] || { echo "--help lists no commands"; exit 1; }
expect '' "$(cut -d' ' -f1 <<<"$commands" | sort -u | tr '\n' ' ' | sed 's/ $//')"
checked=0
while read -r -a command; do
    mapfile -t options < <("$real" "${command[@]}" --help |
        sed -nE 's/^  (-., |    )(--[a-z-]+).*/\2/p' | sort)
    expect "${command[*]} --" "${options[*]}"
    ((checked += ${#options[@]}))
done <<<"$commands"
((checked > 50)) || { echo "only $checked options seen"; failed=1; }

expect 'mig' 'migrate'
expect 'migrate ' 'db web'
expect 'migrate w' 'web'
expect 'migrate web ' 'beta gamma'
expect 'migrate --live --bandwidth 100 web ' 'beta gamma'
expect 'migrate --bandwidth ' ''
expect 'migrate --name = new web g' 'gamma'
expect 'migrate web beta ' ''
expect '--connect /there start ' 'far'
expect 'start --connect /there ' 'far'
expect 'start -c /there ' 'far'
expect 'host ' 'add list remove'
expect 'host re' 'remove'
expect 'host remove ' 'beta gamma'
expect 'host list --pr' '--probe'
expect 'job ' 'db resolve web'
expect 'job re' 'resolve'
expect 'job resolve ' 'db web'
expect 'job resolve web --runs-h' '--runs-here'
expect 'job web --wa' '--watch'
expect 'migrate --non' '--non-live'
expect 'list ' ''
expect "define ${2%.bash}" "$2"
expect 'start --connect /et' '/etc'
exit $failed
