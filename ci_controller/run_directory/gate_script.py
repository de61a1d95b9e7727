"""The script that waits at the gate, the same for all jobs. Its promises: `ci_controller.run_directory.preparation`."""

GATE_SCRIPT = rb"""#!/bin/sh
__ci_run=$1
set --
__ci_word=
__ci_carrier=
__ci_messenger=
__ci_status=
__ci_failed=
__ci_blamed=
__ci_watcher=

# Where a container sees the counters of its control groups: those of version 1 by controller, or of version 2, below
# the group's own name, which is known once it is clear that this is in one.
__ci_cgroups=/sys/fs/cgroup
__ci_cgroup=

# An engine may run what has ended again, on behalf of a controller that does not know what has happened since.
for __ci_mark in started exit; do
    [ ! -e "$__ci_run/$__ci_mark" ] || exit 1
done

__ci_uptime() {
    { IFS=' ' read -r __ci_up __ci_rest </proc/uptime; } 2>/dev/null || __ci_up=
}

# Descriptor 1 is the log, opened for appending once and shared by all that write: its position is the log's length.
__ci_record() {
    __ci_uptime
    __ci_offset=
    { while IFS=' 	' read -r __ci_key __ci_value; do
        [ "$__ci_key" != pos: ] || { __ci_offset=$__ci_value; break; }
    done </proc/self/fdinfo/1; } 2>/dev/null
    printf '{"step":%s,"event":"%s",%s"uptime":"%s","offset":"%s"}\n' \
        "$1" "$2" "$3" "$__ci_up" "$__ci_offset" >>"$__ci_run/steps.jsonl"
}

# Sets the same action for every signal but SIGTERM that can be caught and would end or stop a shell. Where a shell does
# not know all of them, each by itself. 16 is SIGSTKFLT, which dash has no name for.
__ci_on_signals() {
    set -- "$1" HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TSTP TTIN TTOU XCPU XFSZ VTALRM PROF IO \
        PWR SYS 16 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
    { command trap "$@"; } 2>/dev/null && return
    __ci_action=$1
    shift
    for __ci_signal in "$@"; do command trap "$__ci_action" "$__ci_signal"; done 2>/dev/null
}

__ci_is_stopped() {
    [ -e "$__ci_run/stopping" ]
}

# /dev/stdout and /dev/stderr are a FIFO, so that opening them does not open the log, and this carries its bytes there.
__ci_carry() {
    trap '' TERM
    __ci_on_signals ''
    if command -v cat >/dev/null 2>&1; then exec cat; fi
    while IFS= read -r __ci_line; do printf '%s\n' "$__ci_line"; done
}

# The first process cannot be told by a signal while it waits for a step; this one, which waits for nothing else, can
# signal all but the first.
__ci_pass_on_stop() {
    trap '' TERM
    __ci_on_signals ''
    while IFS= read -r __ci_word; do
        [ "$__ci_word" != stop ] || { kill -TERM -1; : >"$__ci_run/signalled"; }
    done
}

__ci_is_there() {
    [ -n "$1" ] && kill -0 "$1" 2>/dev/null
}

# What was killed is there until it has had its turn on a processor, and while it ends. The 3rd field is the state, the
# 9th has flags, of which 4 says that it ends, and the 31st is the set of signals that wait, in which 256 is SIGKILL.
__ci_lives() {
    __ci_is_there "$1" || return 1
    { IFS=' ' read -r __ci_x __ci_x __ci_state \
        __ci_x __ci_x __ci_x __ci_x __ci_x __ci_flags __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x \
        __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x __ci_x \
        __ci_pending __ci_x <"/proc/$1/stat"; } 2>/dev/null || return 1
    [ "$__ci_state" != Z ] && [ "$((${__ci_flags:-0} & 4))" = 0 ] && [ "$((${__ci_pending:-0} & 256))" = 0 ] &&
        kill -CONT "$1" 2>/dev/null
}

# Both are processes of the container like any other: `kill -9 -1` in a step ends them, and `kill -STOP -1` stops them.
__ci_help() {
    __ci_lives "$__ci_carrier" || {
        ( exec <"$__ci_run/console" >&"$1" 2>&1 8>&- 9>&-; __ci_carry ) &
        __ci_carrier=$!
    }
    __ci_lives "$__ci_messenger" || {
        ( exec <>"$__ci_run/stop" >/dev/null 2>&1 8>&- 9>&-; __ci_pass_on_stop ) &
        __ci_messenger=$!
    }
}

# Tells whether a process has ended and only has not been waited for, so that it writes nothing any more. Where its
# first thread has ended, others may go on.
__ci_has_ended() {
    { IFS= read -r __ci_line <"$1/stat"; } 2>/dev/null || return 0
    case ${__ci_line##*) } in
    Z* | X*) ;;
    *) return 1 ;;
    esac
    for __ci_thread in "$1"/task/*; do
        case $__ci_thread in
        "$1/task/${1#/proc/}" | "$1/task/*") ;;
        *) return 1 ;;
        esac
    done
}

# Kills what the job has left, once, and counts what is there and what of it cannot be killed.
__ci_kill_others() {
    __ci_others=0
    __ci_immune=0
    for __ci_process in /proc/[0-9]*; do
        case ${__ci_process#/proc/} in
        1 | "$$" | "$__ci_carrier" | "$__ci_messenger") continue ;;
        esac
        ! __ci_has_ended "$__ci_process" || continue
        __ci_others=$((__ci_others + 1))
        kill -9 "${__ci_process#/proc/}" 2>/dev/null || [ ! -e "$__ci_process" ] || __ci_immune=$((__ci_immune + 1))
    done
}

# What was killed is there until it has ended, and what it made until then may stand before it in the list: so all are
# gone once the list is empty twice. Fails where some do not go.
__ci_end_others() {
    __ci_uptime
    [ -n "$__ci_up" ] || return 1
    __ci_since=${__ci_up%%.*}
    __ci_empty=0
    while [ "$__ci_empty" -lt 2 ]; do
        __ci_kill_others
        if [ "$__ci_others" = 0 ]; then __ci_empty=$((__ci_empty + 1)); else __ci_empty=0; fi
        __ci_uptime
        [ "$__ci_immune" = 0 ] && [ "${__ci_up%%.*}" -le $((__ci_since + 2)) ] || return 1
    done
}

# The FIFO ends once no process holds it open, so what is left of the job's processes has to go first. A signal ends the
# waiting, which then begins again.
__ci_drain() {
    __ci_is_there "$__ci_carrier" && kill -CONT "$__ci_carrier" || __ci_help 1
    exec 9>&-
    if __ci_end_others; then __ci_last=" last"; fi
    while __ci_is_there "$__ci_carrier"; do wait "$__ci_carrier"; done
}

# Sets __ci_found to the number that stands behind a word in the first of these files that is there, or to nothing.
__ci_count() {
    __ci_found=
    for __ci_file in "$2" "$3"; do
        { while IFS=' ' read -r __ci_key __ci_value; do
            [ "$__ci_key" != "$1" ] || { __ci_found=$__ci_value; break 2; }
        done <"$__ci_file"; } 2>/dev/null
    done
}

__ci_count_refusals() {
    __ci_count oom_kill "$__ci_cgroups/memory/memory.oom_control" "$__ci_cgroups$__ci_cgroup/memory.events"
    __ci_kills=$__ci_found
    __ci_count max "$__ci_cgroups/pids/pids.events" "$__ci_cgroups$__ci_cgroup/pids.events"
    __ci_refusals=$__ci_found
}

__ci_before_step() {
    [ -z "$__ci_carrier" ] || [ -z "$__ci_status" ] || __ci_help 1
    [ -n "$__ci_cgroup" ] || return 0
    __ci_count_refusals
    __ci_kills_before=$__ci_kills
    __ci_refusals_before=$__ci_refusals
}

# What the kernel did to the job during its last step.
__ci_blame() {
    __ci_blamed=
    [ -n "$__ci_cgroup" ] || return 0
    __ci_count_refusals
    [ -z "$__ci_kills" ] || __ci_blamed=" oom:$((__ci_kills - ${__ci_kills_before:-0}))"
    [ -z "$__ci_refusals" ] || __ci_blamed="$__ci_blamed pids:$((__ci_refusals - ${__ci_refusals_before:-0}))"
    __ci_count nr_throttled "$__ci_cgroups/cpu/cpu.stat" "$__ci_cgroups$__ci_cgroup/cpu.stat"
    __ci_throttled=$__ci_found
    __ci_count nr_periods "$__ci_cgroups/cpu/cpu.stat" "$__ci_cgroups$__ci_cgroup/cpu.stat"
    [ "${__ci_found:-0}" = 0 ] || __ci_blamed="$__ci_blamed throttled:$((100 * ${__ci_throttled:-0} / __ci_found))"
}

# Sets __ci_found to the number that is all of the first of these files that is there, or to nothing.
__ci_number() {
    for __ci_file in "$1" "$2"; do
        __ci_found=
        { IFS=' ' read -r __ci_found __ci_x <"$__ci_file"; } 2>/dev/null
        case $__ci_found in
        '' | *[!0-9]*) __ci_found= ;;
        *) break ;;
        esac
    done
}

# Adds the bytes of one device or network to __ci_in and __ci_out, if both are numbers.
__ci_add() {
    case $1-$2 in
    -* | *- | *[!0-9-]* | *-*-*) ;;
    *)
        __ci_in=$((${__ci_in:-0} + $1))
        __ci_out=$((${__ci_out:-0} + $2)) ;;
    esac
}

# Sets __ci_used to what the job has used, as far as the control groups and the kernel tell.
__ci_count_use() {
    __ci_used=
    [ -n "$__ci_cgroup" ] || return 0
    __ci_count usage_usec "$__ci_cgroups$__ci_cgroup/cpu.stat" ''
    if [ -z "$__ci_found" ]; then
        __ci_number "$__ci_cgroups/cpuacct/cpuacct.usage" "$__ci_cgroups/cpu,cpuacct/cpuacct.usage"
        [ -z "$__ci_found" ] || __ci_found=$((__ci_found / 1000))
    fi
    [ -z "$__ci_found" ] || __ci_used=" cpu:$__ci_found"
    __ci_number "$__ci_cgroups$__ci_cgroup/memory.peak" "$__ci_cgroups/memory/memory.max_usage_in_bytes"
    [ -z "$__ci_found" ] || __ci_used="$__ci_used mem:$__ci_found"
    __ci_in=
    __ci_out=
    { while IFS=' ' read -r __ci_x __ci_key __ci_value __ci_rest; do
        __ci_add "${__ci_key#rbytes=}" "${__ci_value#wbytes=}"
    done <"$__ci_cgroups$__ci_cgroup/io.stat"; } 2>/dev/null
    { while IFS=' ' read -r __ci_x __ci_key __ci_value __ci_rest; do
        case $__ci_key in
        Read) __ci_add "$__ci_value" 0 ;;
        Write) __ci_add 0 "$__ci_value" ;;
        esac
    done <"$__ci_cgroups/blkio/blkio.throttle.io_service_bytes"; } 2>/dev/null
    [ -z "$__ci_in" ] || __ci_used="$__ci_used read:$__ci_in written:$__ci_out"
    __ci_in=
    __ci_out=
    { while IFS=' :' read -r __ci_x __ci_key __ci_z __ci_z __ci_z __ci_z __ci_z __ci_z __ci_z __ci_value __ci_rest; do
        [ "$__ci_x" = lo ] || __ci_add "$__ci_key" "$__ci_value"
    done </proc/net/dev; } 2>/dev/null
    __ci_used="$__ci_used received:${__ci_in:-0} sent:${__ci_out:-0}"
}

# Whether a step is to run, by its number and its condition.
__ci_begin_step() {
    case $2${__ci_failed:+-failed} in
    success-failed | failure)
        __ci_record "$1" skip "\"code\":${__ci_failed:-0},"
        return 1 ;;
    esac
    __ci_before_step
    __ci_record "$1" start ''
}

# Takes a step's number, its status, and whether the job goes on as if it had succeeded.
__ci_end_step() {
    __ci_status=$2
    __ci_noted=
    if [ -n "$__ci_watcher" ] && __ci_has_timed_out "$1"; then
        __ci_status=124
        __ci_noted='"timed_out":true,'
    fi
    __ci_record "$1" end "\"code\":$__ci_status,$__ci_noted"
    [ "$__ci_status" != 0 ] && [ "$3" = no ] && [ -z "$__ci_failed" ] || return 0
    __ci_blame
    __ci_failed=$__ci_status
}

# Kills the job's processes, but those that carry out its script, of which the caller is one and names another.
__ci_kill_rest() {
    { IFS=' ' read -r __ci_self __ci_rest </proc/self/stat; IFS= read -r __ci_line <"/proc/$$/stat"; } 2>/dev/null
    __ci_group=${__ci_line##*) }
    __ci_group=${__ci_group#* * }
    __ci_group=${__ci_group%% *}
    for __ci_process in /proc/[0-9]*; do
        case ${__ci_process#/proc/} in
        1 | "$$" | "$__ci_self" | "$1" | "$__ci_carrier" | "$__ci_messenger") continue ;;
        esac
        if [ -z "$__ci_carrier" ]; then
            { IFS= read -r __ci_line <"$__ci_process/stat"; } 2>/dev/null || continue
            __ci_rest=${__ci_line##*) }
            __ci_rest=${__ci_rest#* * }
            [ "${__ci_rest%% *}" = "$__ci_group" ] || continue
        fi
        kill -KILL "${__ci_process#/proc/}"
    done 2>/dev/null
}

# Ends the step if it runs for longer than so many seconds, and with SIGKILL after some more. Ends with 3 if it did.
# Takes the step's number besides.
__ci_watch_step() {
    command -v sleep >/dev/null 2>&1 || {
        printf '%s\n' "ci: a step's timeout needs the program sleep, which this image does not have"
        return 127
    }
    (
        exec >/dev/null 2>&1 8>&- 9>&-
        __ci_fired=0
        __ci_started_before=$!
        __ci_on_signals ''
        # The signal comes many times, and bash crashes where a handler interrupts itself too often.
        __ci_at_term='trap "" TERM; [ "$!" = "$__ci_started_before" ] || __ci_terminate "$!"; exit "$__ci_fired"'
        trap "$__ci_at_term" TERM
        # A signal that came before it was trapped may be lost.
        [ ! -e "$__ci_run/watched-$3" ] || exit 0
        sleep "$1" &
        wait "$!" || exit 0
        __ci_fired=3
        : >"$__ci_run/timed-out-$3"
        # To all at once: a shell that sees its command end first takes that for a failure, and may end before its trap.
        trap '' TERM
        if [ -n "$__ci_carrier" ]; then kill -TERM -1; else kill -TERM 0; fi
        trap "$__ci_at_term" TERM
        sleep "$2" &
        wait "$!"
        while :; do
            sleep 1 &
            __ci_kill_rest "$!"
            wait "$!"
        done
    ) &
    __ci_watcher=$!
}

# A signal is lost that comes just before a shell waits, or before a program begins: it is sent until it has had its
# effect.
__ci_terminate() {
    while __ci_lives "$1"; do kill "$1" 2>/dev/null; done
}

# A signal ends the waiting, which then begins again. The step can kill the watcher, whose status then says nothing.
__ci_has_timed_out() {
    : >"$__ci_run/watched-$1"
    __ci_terminate "$__ci_watcher"
    while :; do
        wait "$__ci_watcher" 2>/dev/null
        __ci_watched=$?
        __ci_is_there "$__ci_watcher" || break
    done
    __ci_watcher=
    [ "$__ci_watched" = 3 ] || [ -e "$__ci_run/timed-out-$1" ]
}

# Until a word is written, or the gate has gone; the controller that opened it for the job may be about to close it.
# Where `exit` could not be written, as on a full disk, no controller would come.
__ci_stay() {
    { IFS= read -r __ci_word <"$__ci_run/exit"; } 2>/dev/null || return 0
    while [ -p "$__ci_run/gate" ] && ! { IFS= read -r __ci_word <"$__ci_run/gate"; } 2>/dev/null; do :; done
}

__ci_finish() {
    trap - EXIT
    __ci_last=
    __ci_stopped=
    ! __ci_is_stopped || __ci_stopped=" term"
    [ "$1" = 0 ] || [ -n "$__ci_failed" ] || __ci_blame
    [ -z "$__ci_carrier" ] || __ci_drain
    __ci_count_use
    printf '%s%s%s%s%s\n' "$1" "$__ci_stopped" "$__ci_blamed" "$__ci_used" "$__ci_last" >"$__ci_run/exit"
    [ -z "$__ci_last" ] || [ -n "$__ci_stopped" ] || __ci_stay
    exit "$1"
}

# Alone in a container. What it needs there is done before the gate, where no job waits for it yet.
__ci_contained() {
    __ci_cgroup=/
    { while IFS= read -r __ci_line; do
        case $__ci_line in 0::*) __ci_cgroup=${__ci_line#0::} ;; esac
    done </proc/self/cgroup; } 2>/dev/null
    exec 9<>"$__ci_run/console"
    __ci_help 8
}

exec 8>>"$__ci_run/log" || exit 1
[ ! -p "$__ci_run/console" ] || __ci_contained
__ci_on_signals :
: >"$__ci_run/waiting"
while [ "$__ci_word" != go ]; do
    [ -p "$__ci_run/gate" ] || exit 1
    { IFS= read -r __ci_word <"$__ci_run/gate"; } 2>/dev/null
done
trap : TERM
# One passes this gate, and no second one, ever: the mark is only made where there is none.
set -C
{ printf '' >"$__ci_run/started"; } 2>/dev/null || exit 1
set +C
__ci_uptime
printf '%s' "$__ci_up" >>"$__ci_run/started"
exec </dev/null >&8 2>&1 8>&-
# A shell that cannot start a process ends.
trap '__ci_finish "$?"' EXIT
. "$__ci_run/job"
"""
"""What a workload runs, with the run directory as its argument.

Where that has the FIFO `console`, which is /dev/stdout and /dev/stderr then, it is alone with its job in a container.
"""
