//! The web UI of a real Keg in headless Chromium.
