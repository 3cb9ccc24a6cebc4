#!/usr/bin/env bash
# Run a command for so many minutes at most: run_for.sh MINUTES COMMAND...
# Then it and all that it has started are asked to stop (SIGTERM), and waited for, since jobs save their state first.
minutes=$1
shift
timeout "${minutes}m" "$@" &
group=$!                            # timeout leads a process group of its own, ...
trap 'kill -TERM "$group"' INT TERM # ... which Ctrl-C does not reach
# A trap ends the first wait before the command ends.
while wait "$group"; status=$?; kill -0 "$group" 2> /dev/null; do :; done
while kill -0 -- "-$group" 2> /dev/null; do sleep 0.1; done
if [ "$status" = 124 ]; then
    echo "Stopped after $minutes minutes, not yet done: jobs that died of SIGTERM were asked to, and long ones have" \
        "saved their state. Run the same command again to go on from here." >&2
fi
exit "$status"
