# Runs Postgres for as long as file descriptor 3, the read end of the users' FIFO, has a writer.
#
#   sh -c "$SCRIPT" pgdev RUN GENERATION STALE SOCKETS POSTGRES ARGUMENT...
#
# RUN is the folder of the run; it belongs to this script while RUN/generation says GENERATION. STALE is the number of a
# process that is known not to be a Postgres of this data, or empty. SOCKETS is the folder of the Unix socket.

run=$1 generation=$2 stale=$3 sockets=$4
shift 4

# keep runs Postgres, and again when it dies, until it gets TERM. It has no hold on the FIFO.
keep() {
    pid= stops=0 pause=0.2
    trap stop TERM
    while [ "$stops" = 0 ] && read -r current <"$run/generation" && [ "$current" = "$generation" ]; do
        # Postgres does not start beside a live process that postmaster.pid names, unless it is its grandparent. We know
        # that it is no Postgres, and saying so is safer than removing the file, by which Postgres also finds backends
        # that have outlived their postmaster.
        PG_GRANDPARENT_PID=$stale "$@" &
        pid=$!
        [ "$stops" = 0 ] || stop
        while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
        stale=$pid pid=
        [ "$stops" = 0 ] || break
        # Without a first success it is the starter's to decide.
        if [ ! -e "$run/ready" ]; then
            echo "$generation" >"$run/failed"
            break
        fi
        sleep "$pause"
        pause=1
    done
}

# stop asks for a fast shutdown, and after some ten seconds for an immediate one. It is called again and again: a process
# that has not yet become Postgres ignores INT.
stop() {
    stops=$((stops + 1))
    signal=INT
    [ "$stops" -le 50 ] || signal=QUIT
    [ -z "$pid" ] || kill -"$signal" "$pid" 2>/dev/null
}

supervise() {
    trap '' HUP INT
    keep "$@" 3<&- &
    keeper=$!
    trap '' TERM # when the machine stops, the keeper hears of it too, and the users end
    # A user's word is sent back, as the proof that this reader will not stop before that user leaves.
    while read -r word; do
        [ -z "$word" ] || echo "$word" >"$run/ack"
    done <&3
    exec 3<&- # at once: from here on nobody may take this for a reader
    while kill -TERM "$keeper" 2>/dev/null; do sleep 0.2; done
    rmdir "$sockets" 2>/dev/null
}

supervise "$@" &
