"""A small Flask app that shows where it runs."""

import os
import platform
import time
from importlib.metadata import version

from flask import Flask, jsonify, render_template

app = Flask(__name__)
STARTED = time.time()

# Variables that say something about the surroundings and are never secret.
SHOWN = ("PORT", "HOME", "PATH", "LANG", "PYTHONUNBUFFERED", "GREETING")


def facts():
    """What the page shows, in its order."""
    return {
        "Python": platform.python_version(),
        "Flask": version("flask"),
        "Host": platform.node(),
        "Process": os.getpid(),
        "User": f"{os.getuid()}:{os.getgid()}",
        "Up": f"{time.time() - STARTED:.0f} s",
    }


def environment():
    """The variables of SHOWN and those of the Keg, where they are set."""
    names = [name for name in os.environ if name in SHOWN or name.startswith("KEG_")]
    return {name: os.environ[name] for name in sorted(names)}


@app.get("/")
def home():
    """The page."""
    greeting = os.environ.get("GREETING", "Hello from Flask")
    return render_template(
        "home.html", greeting=greeting, facts=facts(), environment=environment()
    )


@app.get("/facts")
def facts_json():
    """The same as data."""
    return jsonify(facts=facts(), environment=environment())


@app.get("/healthz")
def healthz():
    """For health checks."""
    return "ok\n", 200, {"Content-Type": "text/plain; charset=utf-8"}
