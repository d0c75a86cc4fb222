# SPDX-License-Identifier: Apache-2.0
# Completion of mudanza for bash. It knows no command and no option itself: it reads the program's
# own --help, and asks the agent for the names of VMs and hosts.

# The options of a command (none: of the program), one a line: "--name" or "--name VALUE".
_mudanza_options() {
    "${program[@]}" "$@" --help 2>/dev/null |
        sed -nE 's/^  (-., |    )(--[a-z-]+)( ([A-Z]+))?  .*/\2 \4/p'
}

# The commands after the given words: "host" and so on, or "add" and so on.
_mudanza_commands() {
    "${program[@]}" "$@" --help 2>/dev/null |
        sed -nE '/^Commands:/,/^$/s/^  ([a-z]+)( ([a-z]+))?  +.*/\1 \3/p' |
        while read -r first second; do
            if (($# == 0)); then printf '%s\n' "$first"; else printf '%s\n' "$second"; fi
        done | sort -u
}

# The second words of commands whose first word is a command itself: "resolve" after "job".
_mudanza_seconds() {
    "${program[@]}" --help 2>/dev/null | sed -nE '/^Commands:/,/^$/s/^  '"$1"' ([a-z]+)  +.*/\1/p'
}

# What the operand of a command is called: the words from the usage line.
_mudanza_operands() {
    "${program[@]}" "$@" --help 2>/dev/null |
        sed -nE '1s/^Usage: mudanza ('"$*"') \[OPTION\]\.\.\. ?//p'
}

# Offers what a value or operand of this name may be.
_mudanza_offer() {
    case $1 in
    VM) words=$("${program[@]}" "${connect[@]}" list --all --name 2>/dev/null) ;;
    HOST) words=$("${program[@]}" "${connect[@]}" host list --name 2>/dev/null) ;;
    FILE | PATH)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

# Sorts the words before the cursor into `command`, `operands` (how many) and `connect`; `pending`
# is the value that the last option waits for.
_mudanza_read() {
    local word letter index
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ -n $pending ]]; then
            [[ $word == = ]] && continue
            [[ $pending == PATH ]] && connect=(--connect "$word")
            pending=
            continue
        fi
        case $word in
        -?*)
            letter=$word
            [[ $word == -c ]] && letter=--connect
            pending=$(_mudanza_options "${command[@]}" | sed -n "s/^$letter //p")
            ;;
        *)
            if ((${#command[@]} == 0)) || [[ ${command[*]} == "$group" ]]; then
                command+=("$word")
                [[ -z $group && -z $(_mudanza_operands "$word") &&
                    -n $(_mudanza_commands "$word") ]] && group=$word
            elif ((operands == 0 && ${#command[@]} == 1)) &&
                _mudanza_seconds "${command[0]}" | grep -qx -- "$word"; then
                command+=("$word")
            else
                ((operands++))
            fi
            ;;
        esac
    done
}

_mudanza() {
    local program=("${COMP_WORDS[0]}") connect=() command=() operands=0 group='' pending='' words
    local current=${COMP_WORDS[COMP_CWORD]} names
    COMPREPLY=()
    _mudanza_read
    [[ $current == = ]] && current=
    if [[ -n $pending ]]; then
        _mudanza_offer "$pending"
    elif [[ $current == -* ]]; then
        words=$(_mudanza_options "${command[@]}" | cut -d' ' -f1)
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    elif ((${#command[@]} == 0)) || [[ ${command[*]} == "$group" ]]; then
        words=$(_mudanza_commands "${command[@]}")
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    else
        read -r -a names < <(_mudanza_operands "${command[@]}")
        _mudanza_offer "${names[operands]-}"
        if ((operands == 0 && ${#command[@]} == 1)); then
            words=$(_mudanza_seconds "${command[0]}")
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$current")
        fi
    fi
}

complete -F _mudanza mudanza
