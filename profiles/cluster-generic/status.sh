#!/usr/bin/env bash
# Print running, success or failed: status.sh ID. A job that the scheduler does not know yet, or for a moment, is running;
# one that it has not known for ten minutes has failed.
set -uo pipefail
id=$1
lost="${TMPDIR:-/tmp}/hardfold-lost-$(id -u)-$id"

unknown() {
    [ -e "$lost" ] || touch "$lost"
    if [ -n "$(find "$lost" -mmin +10)" ]; then echo failed; else echo running; fi
    exit
}
ended() { # CODE...: well if all are 0
    rm -f "$lost"
    for code; do [ "$code" = 0 ] || { echo failed; exit; }; done
    echo success
    exit
}

if command -v bjobs >/dev/null; then
    case $(bjobs -noheader -o stat "$id" 2>/dev/null) in
        DONE) ended 0 ;;
        EXIT | ZOMBI) ended 1 ;;
        "") unknown ;;
    esac
elif command -v qacct >/dev/null; then
    if ! qstat -j "$id" >/dev/null 2>&1; then
        codes=$(qacct -j "$id" 2>/dev/null | awk '$1 == "failed" || $1 == "exit_status" { print $2 }')
        [ -n "$codes" ] || unknown # accounting comes seconds after the end
        ended $codes
    fi
else
    job=$(qstat -x -f "$id" 2>/dev/null) || unknown
    if grep -q 'job_state = F' <<<"$job"; then
        ended "$(sed -nE 's/^ *Exit_status = (-?[0-9]+).*/\1/p' <<<"$job")"
    fi
fi
rm -f "$lost"
echo running
