"""A small blog."""

import os

from flask import Flask, abort, render_template, request

app = Flask(__name__)
TITLE = os.environ.get("BLOG_TITLE", "Blog")
PAGE = 20


@app.get("/")
def index():
    name = request.args.get("name", "reader")
    return render_template("index.html", title=TITLE, name=name, posts=posts()[:PAGE])


@app.get("/posts/<slug>")
def post(slug):
    found = next((p for p in posts() if p["slug"] == slug), None)
    if found is None:
        abort(404)
    return render_template("post.html", title=f"{found['title']} · {TITLE}", post=found)


@app.get("/health")
def health():
    return {"ok": True}


def posts():
    # The newest comes first.
    return sorted(load(), key=lambda post: post["date"], reverse=True)
