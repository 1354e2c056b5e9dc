//! What an app can reach and what it may use.
