//! What somebody may have meant by a name that no package has.

use super::{name::PackageName, requirements::Requirements};

/// Most names that are suggested.
const MAX_NEAR: usize = 3;

/// Modules that are imported under another name than their package has.
const MODULES: &[(&str, &str)] = &[
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("cv2", "opencv-python-headless"),
    ("crypto", "pycryptodome"),
    ("dateutil", "python-dateutil"),
    ("dotenv", "python-dotenv"),
    ("fitz", "pymupdf"),
    ("git", "gitpython"),
    ("github", "pygithub"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("magic", "python-magic"),
    ("mysqldb", "mysqlclient"),
    ("openssl", "pyopenssl"),
    ("pil", "pillow"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("socketio", "python-socketio"),
    ("usb", "pyusb"),
    ("yaml", "pyyaml"),
    ("zmq", "pyzmq"),
];

/// Packages that many apps use, for misspellings.
const COMMON: &[&str] = &[
    "aiohttp",
    "alembic",
    "asgiref",
    "asyncpg",
    "attrs",
    "beautifulsoup4",
    "boto3",
    "bottle",
    "celery",
    "certifi",
    "click",
    "cryptography",
    "django",
    "django-environ",
    "djangorestframework",
    "falcon",
    "fastapi",
    "flask",
    "flask-login",
    "flask-sqlalchemy",
    "flask-wtf",
    "gevent",
    "gunicorn",
    "httpx",
    "hypercorn",
    "itsdangerous",
    "jinja2",
    "lxml",
    "markdown",
    "markupsafe",
    "matplotlib",
    "mysqlclient",
    "numpy",
    "opencv-python",
    "orjson",
    "pandas",
    "pillow",
    "psutil",
    "psycopg",
    "psycopg2-binary",
    "pydantic",
    "pygments",
    "pyjwt",
    "pymongo",
    "pymysql",
    "pytest",
    "python-dateutil",
    "python-dotenv",
    "pyyaml",
    "quart",
    "redis",
    "requests",
    "rich",
    "sanic",
    "scikit-learn",
    "scipy",
    "sentry-sdk",
    "setuptools",
    "sqlalchemy",
    "starlette",
    "tornado",
    "tqdm",
    "twisted",
    "typing-extensions",
    "urllib3",
    "uvicorn",
    "waitress",
    "websockets",
    "werkzeug",
    "wheel",
    "whitenoise",
];

/// Modules that Python itself has; naming one in requirements is a mistake.
const STANDARD: &[&str] = &[
    "argparse",
    "asyncio",
    "base64",
    "collections",
    "csv",
    "datetime",
    "hashlib",
    "itertools",
    "json",
    "logging",
    "math",
    "os",
    "pathlib",
    "random",
    "re",
    "socket",
    "sqlite3",
    "string",
    "subprocess",
    "sys",
    "threading",
    "time",
    "tkinter",
    "unittest",
    "urllib",
    "venv",
];

/// Names that may have been meant, best first.
pub fn near(name: &PackageName, requirements: &Requirements) -> Vec<String> {
    let name = name.as_str();
    if let Some((_, package)) = MODULES.iter().find(|(module, _)| *module == name) {
        return vec![(*package).to_owned()];
    }
    let others = requirements.lines.iter().map(|line| line.requirement.name.as_str());
    let mut near: Vec<(usize, &str)> = COMMON
        .iter()
        .copied()
        .chain(others.filter(|other| *other != name))
        .map(|other| (distance(name, other), other))
        .filter(|(distance, other)| *distance <= 1 + other.len() / 5 && *distance < other.len())
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MAX_NEAR).map(|(_, name)| name.to_owned()).collect()
}

/// Whether Python has this module itself.
pub fn is_standard(name: &PackageName) -> bool {
    STANDARD.contains(&name.as_str())
}

/// The number of letters to change, add or leave out (Levenshtein). Names are bounded.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_and_module_names_are_understood() {
        for (text, want) in [
            ("flaskk", Some("flask")),
            ("guinicorn", Some("gunicorn")),
            ("reqests", Some("requests")),
            ("yaml", Some("pyyaml")),
            ("PIL", Some("pillow")),
            ("no-such-thing-at-all", None),
        ] {
            let name = PackageName::new(text).expect(text);
            let found = near(&name, &Requirements::default());
            assert_eq!(found.first().map(String::as_str), want, "{text}: {found:?}");
        }
        assert!(is_standard(&PackageName::new("asyncio").expect("good")));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
