#!/bin/sh
# post-receive: the shortest way from a push to a running app that people set up by themselves.
set -eu
. "$(dirname "$0")/settings"
app=$DEPLOY/app
mkdir -p "$app"
git --work-tree="$app" checkout -q -f main

wanted=$(sha256sum <"$app/requirements.txt")
if [ "$wanted" != "$(cat "$DEPLOY/installed" 2>/dev/null)" ]; then
    [ -x "$DEPLOY/venv/bin/pip" ] || python3 -m venv "$DEPLOY/venv"
    "$DEPLOY/venv/bin/pip" install -q --disable-pip-version-check --cache-dir "$CACHE" \
        -r "$app/requirements.txt"
    echo "$wanted" >"$DEPLOY/installed"
elif [ "$RELOAD" = yes ]; then
    # Answers from the old code until a new worker has loaded the new.
    kill -HUP "$(cat "$DEPLOY/pid")"
    exit
fi

if [ -f "$DEPLOY/pid" ]; then
    old=$(cat "$DEPLOY/pid")
    kill "$old" || true
    while kill -0 "$old" 2>/dev/null; do sleep 0.01; done
fi
cd "$app"
command=$(sed -n 's/^web: *//p' Procfile)
PATH="$DEPLOY/venv/bin:$PATH" GUNICORN_CMD_ARGS="--bind 127.0.0.1:$PORT" \
    setsid sh -c "exec $command" </dev/null >>"$DEPLOY/log" 2>&1 &
echo $! >"$DEPLOY/pid"
until curl -sf -o /dev/null "http://127.0.0.1:$PORT/"; do sleep 0.01; done
