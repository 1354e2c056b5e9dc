#!/bin/sh
# post-receive: a new image and a new container for each push.
set -eu
. "$(dirname "$0")/settings"
app=$DEPLOY/app
mkdir -p "$app"
git --work-tree="$app" checkout -q -f main

own() {
    podman --root "$DEPLOY/podman/root" --runroot "$DEPLOY/podman/run" \
        --storage-driver=overlay --cgroup-manager=cgroupfs --runtime=runc "$@"
}
# Not into /app: the bytecode that Keg compiled there is not checked against its source.
printf 'FROM %s\nWORKDIR /srv\nCOPY . /srv\n' "$IMAGE" >"$DEPLOY/Containerfile"
image=$(own build --quiet --pull=never --file "$DEPLOY/Containerfile" "$app")
if [ -f "$DEPLOY/container" ]; then
    own rm --force "$(cat "$DEPLOY/container")" >/dev/null
fi
own run --detach --network=host --pull=never --cidfile "$DEPLOY/new" \
    --conmon-pidfile "$DEPLOY/pid" \
    --ulimit=nofile=1024:1024 --ulimit=nproc=512:512 \
    --env "GUNICORN_CMD_ARGS=--bind 127.0.0.1:$PORT" "$image" >/dev/null
mv "$DEPLOY/new" "$DEPLOY/container"
until curl -sf -o /dev/null "http://127.0.0.1:$PORT/"; do sleep 0.01; done
