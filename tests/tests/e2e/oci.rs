//! Images fetched and run by skopeo and podman.
