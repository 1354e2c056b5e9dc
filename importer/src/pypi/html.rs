//! Project pages as HTML (PEP 503), for indexes that speak no JSON.

use html5gum::{HtmlString, StartTag, Token, Tokenizer};

use super::{project::MAX_FILES, project::WheelFile, requirements::is_sha256};

/// The links of a page; the tokenizer reads any bytes as a browser would.
///
/// # Errors
/// Too many links.
pub fn links(bytes: &[u8]) -> Result<Vec<WheelFile>, String> {
    let mut links = Vec::new();
    for token in Tokenizer::new(bytes) {
        let token = token.map_err(|error| format!("bad HTML: {error}"))?;
        let Token::StartTag(tag) = token else { continue };
        if tag.name.0 == b"a" {
            links.extend(link(&tag));
        }
        if links.len() > MAX_FILES {
            return Err("it lists too many files".into());
        }
    }
    Ok(links)
}

fn link(tag: &StartTag<()>) -> Option<WheelFile> {
    let attribute = |name: &[u8]| {
        let value = tag.attributes.get(&HtmlString(name.to_vec()))?;
        String::from_utf8(value.to_vec()).ok()
    };
    let digest = |text: &str| {
        let digest = text.strip_prefix("sha256=").filter(|digest| is_sha256(digest));
        digest.map(str::to_ascii_lowercase)
    };
    let href = attribute(b"href")?;
    let (path, fragment) = href.split_once('#').unwrap_or((&href, ""));
    let path = path.split('?').next().unwrap_or(path);
    // File names have no characters that need escapes, except `+` of local versions.
    let file = path.rsplit('/').next().unwrap_or(path).replace("%2B", "+").replace("%2b", "+");
    let metadata =
        attribute(b"data-core-metadata").or_else(|| attribute(b"data-dist-info-metadata"));
    Some(WheelFile {
        file,
        url: href.clone(),
        sha256: fragment.split('&').find_map(digest),
        size: None,
        requires_python: attribute(b"data-requires-python"),
        uploaded: None,
        yanked: attribute(b"data-yanked"),
        metadata: metadata.as_deref().and_then(digest),
    })
}
