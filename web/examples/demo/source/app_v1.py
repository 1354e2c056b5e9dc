"""A small blog."""

import os

from flask import Flask, abort, render_template

app = Flask(__name__)
TITLE = os.environ.get("BLOG_TITLE", "Blog")


@app.get("/")
def index():
    return render_template("index.html", title=TITLE, posts=posts())


@app.get("/health")
def health():
    return {"ok": True}


def posts():
    # The newest comes first.
    return sorted(load(), key=lambda post: post["date"], reverse=True)
