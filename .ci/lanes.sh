# Runs sections (shell functions) side by side, for .ci/run; source it.
#
#   lanes_run "a b c" "d e"   a, b and c one after another, and beside them d and e
#   lanes_stop                interrupts what still runs and waits until it has cleaned up; for an EXIT trap
#
# What a section prints goes to a file of its own and is shown in one piece when the section ends. The first failure ends
# the run, and so does a section that hangs. Once a minute a line says what runs and how far it is.

lanes_pids=()
LANES_GRACE_S=60
LANES_PROGRESS_S=60
LANES_SECTION_S=3000

lanes_run() {
    local lane word section seconds open=$# signalled=0 told_at=$SECONDS
    lanes_logs=$(mktemp -d -t poolhouse-ci-XXXXXX)
    echo "side by side; what each prints until it ends: $lanes_logs/SECTION.log"
    mkfifo "$lanes_logs/events"
    exec {lanes_events}<>"$lanes_logs/events"
    # Each lane is a process group of its own, so that it can be interrupted as Ctrl-C does.
    set -m
    for lane in "$@"; do
        # shellcheck disable=SC2086 # its sections
        lanes_one $lane &
        lanes_pids+=($!)
    done
    set +m
    # Not `exit` in the traps: the alarm of `read -t` would strike in what cleans up, and bash 5.2 crashes by it.
    trap 'signalled=130' INT
    trap 'signalled=143' TERM
    while [ "$open" -gt 0 ]; do
        if [ "$signalled" -ne 0 ]; then exit "$signalled"; fi
        if ! read -r -t 2 -u "$lanes_events" word section seconds; then
            if [ $((SECONDS - told_at)) -ge "$LANES_PROGRESS_S" ]; then
                told_at=$SECONDS
                lanes_progress || return 1
            fi
            continue
        fi
        case $word in
            end) open=$((open - 1)) ;;
            *)
                printf '=== %s\n' "$section"
                cat "$lanes_logs/$section.log"
                printf '=== %s: %s in %s s\n' "$section" "$word" "$seconds"
                ;;
        esac
        if [ "$word" = failed ]; then return 1; fi
    done
    lanes_second_attempts
    rm -r "$lanes_logs"
}

# The tests that failed and passed when they were run once more (pytest-rerunfailures).
lanes_second_attempts() {
    local reruns
    reruns=$(sed -n '/^RERUN /p' "$lanes_logs"/*.log | sort -u)
    if [ -n "$reruns" ]; then printf '=== passed at the second attempt only:\n%s\n' "$reruns"; fi
}

# Runs sections one by one, and reports each to lanes_run; a failure is the end of the lane.
lanes_one() {
    local section started status
    trap - EXIT
    for section in "$@"; do
        started=$SECONDS
        : >"$lanes_logs/$section.running"
        # Not `if ( … )` nor `( … ) ||`: there `set -e` is off.
        set +e
        (
            set -e
            "$section"
        ) >"$lanes_logs/$section.log" 2>&1 </dev/null
        status=$?
        set -e
        rm "$lanes_logs/$section.running"
        if [ "$status" -ne 0 ]; then
            echo "failed $section $((SECONDS - started))" >&"$lanes_events"
            return 1
        fi
        echo "passed $section $((SECONDS - started))" >&"$lanes_events"
    done
    echo "end" >&"$lanes_events"
}

# What runs, for how long, and the last line that it printed; a lane that was killed can report no failure itself. Fails
# where a section has run for too long.
lanes_progress() {
    local file section pid age_s
    for file in "$lanes_logs"/*.running; do
        [ -e "$file" ] || continue
        section=$(basename "$file" .running)
        age_s=$(($(date +%s) - $(stat -c %Y "$file")))
        printf '... %s for %s s: %s\n' "$section" "$age_s" "$(tail -n 1 "$lanes_logs/$section.log" | cut -c 1-100)"
        if [ "$age_s" -gt "$LANES_SECTION_S" ]; then
            cat "$lanes_logs/$section.log"
            printf '=== %s: not done after %s s\n' "$section" "$age_s"
            return 1
        fi
    done
    for pid in "${lanes_pids[@]}"; do
        if ! kill -0 "$pid" 2>/dev/null && ! wait "$pid"; then
            echo "=== the lane of process $pid was killed" >&2
            exit 1
        fi
    done
}

lanes_stop() {
    local pid waited
    for pid in "${lanes_pids[@]}"; do kill -INT -- "-$pid" 2>/dev/null || true; done
    for ((waited = 0; waited < LANES_GRACE_S * 5; waited++)); do
        kill -0 "${lanes_pids[@]/#/-}" 2>/dev/null || return 0
        sleep 0.2
    done
    for pid in "${lanes_pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
}
