//! Rules, playbooks, tenants and samples: read from where the configuration says, else those that ship with the product.

use std::{
    borrow::Cow,
    fmt, fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use rust_embed::RustEmbed;

use crate::config::{Config, FeedFile};

/// The folder content/, inside the binary.
#[derive(RustEmbed)]
#[folder = "../../content"]
#[include = "rules/**/*.yml"]
#[include = "playbooks/*.yaml"]
#[include = "tenants/*.yaml"]
struct Shipped;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 16;

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file or a folder.
    Path(PathBuf),
    /// This part of content/.
    Shipped(&'static str),
}

/// A file's text.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Where it was read, below its folder.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: Cow<'static, str>,
}

/// Why files can't be used. What is wrong inside of them is told by whoever reads them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    /// They can't be read.
    #[error("can't read {what} from {}: {source}", path.display())]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    /// There are none.
    #[error("no {what} in {place}: there is no file there that ends in .yml or .yaml")]
    Nothing { what: &'static str, place: String },
    /// They say something impossible.
    #[error("{what} in {place}: {reason}")]
    Invalid { what: &'static str, place: String, reason: String },
    /// Nobody says where the tenants are.
    #[error(
        "`tenants_file` is not set: every event would be rejected as an unknown tenant's; name a tenants file (content/tenants/samples.yaml is an example)"
    )]
    NoTenants,
}

/// Where everything comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// The tenants' file.
    pub(crate) tenants: Source,
    /// The rules' folder.
    pub(crate) rules: Source,
    /// The pipelines that change the rules.
    pub(crate) pipelines: Vec<Source>,
    /// The playbooks' folder.
    pub(crate) playbooks: Source,
    /// The indicators' feeds.
    pub(crate) feeds: Vec<FeedFile>,
}

impl Source {
    /// The samples' tenants.
    pub(crate) const SAMPLE_TENANTS: Self = Self::Shipped("tenants/samples.yaml");
    /// The rules that ship with the product.
    pub(crate) const SHIPPED_RULES: Self = Self::Shipped("rules/");
    /// The playbooks that ship with the product.
    pub(crate) const SHIPPED_PLAYBOOKS: Self = Self::Shipped("playbooks/");

    /// `path`, or `otherwise` without one.
    pub(crate) fn path_or(path: Option<&Path>, otherwise: Self) -> Self {
        path.map_or(otherwise, |path| Self::Path(path.to_owned()))
    }

    /// The path, where it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Shipped(_) => None,
        }
    }

    /// The YAML files (or the one file), sorted by path. `what` is named in errors.
    pub(crate) fn read(&self, what: &'static str) -> Result<Vec<SourceFile>, ContentError> {
        let mut files = match self {
            Self::Path(path) => {
                let files = read_path(path);
                files.map_err(|(path, source)| ContentError::Read { what, path, source })?
            }
            Self::Shipped(prefix) => shipped(prefix).collect(),
        };
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Err(ContentError::Nothing { what, place: self.to_string() });
        }
        Ok(files)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Shipped(prefix) => write!(f, "the product's own {prefix}"),
        }
    }
}

impl Sources {
    /// As the configuration says; without `tenants_file` the samples' tenants if `with_samples`.
    pub(crate) fn of(config: &Config, with_samples: bool) -> Result<Self, ContentError> {
        let tenants = match &config.tenants_file {
            Some(path) => Source::Path(path.clone()),
            None if with_samples => Source::SAMPLE_TENANTS,
            None => return Err(ContentError::NoTenants),
        };
        Ok(Self {
            tenants,
            rules: Source::path_or(config.rules_dir.as_deref(), Source::SHIPPED_RULES),
            pipelines: config.rules.pipelines.iter().cloned().map(Source::Path).collect(),
            playbooks: Source::path_or(config.playbooks_dir.as_deref(), Source::SHIPPED_PLAYBOOKS),
            feeds: config.indicators.feeds.clone(),
        })
    }
}

/// A file's bytes, unpacked as its name says.
pub(crate) fn unpacked(path: &Path, file: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    const BUFFER: usize = 256 * 1024;
    let file = BufReader::with_capacity(BUFFER, file);
    Ok(match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "gz" => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file))),
        "zst" => Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)),
        _ => Box::new(file),
    })
}

/// The files of content/ whose path begins with `prefix`, in the order of their paths.
pub(crate) fn shipped(prefix: &str) -> impl Iterator<Item = SourceFile> {
    Shipped::iter().filter(move |path| path.starts_with(prefix)).filter_map(|path| {
        let text = match Shipped::get(&path)?.data {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
        };
        Some(SourceFile { path: path.into_owned(), text })
    })
}

type ReadFailure = (PathBuf, io::Error);

fn read_path(path: &Path) -> Result<Vec<SourceFile>, ReadFailure> {
    let failed = |source| (path.to_owned(), source);
    if fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(vec![read_file(path, path)?]);
    }
    let mut files = Vec::new();
    read_folder(path, path, MAX_DEPTH, &mut files)?;
    Ok(files)
}

/// Reads the YAML files in `folder`. Hidden folders are passed over, among them those in which Kubernetes keeps the
/// versions of a mounted ConfigMap: its files are links into these, and are read as files.
fn read_folder(root: &Path, folder: &Path, depth: usize, files: &mut Vec<SourceFile>) -> Result<(), ReadFailure> {
    let failed = |source| (folder.to_owned(), source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
        if is_folder && depth > 0 {
            read_folder(root, &path, depth - 1, files)?;
        } else if is_yaml && path.is_file() {
            files.push(read_file(root, &path)?);
        }
    }
    Ok(())
}

fn read_file(root: &Path, path: &Path) -> Result<SourceFile, ReadFailure> {
    let read = || {
        let size = fs::metadata(path)?.len();
        if size > MAX_FILE {
            return Err(io::Error::other(format!("{size} bytes are more than the {MAX_FILE} that a file may have")));
        }
        fs::read(path)
    };
    let bytes = read().map_err(|source| (path.to_owned(), source))?;
    let text = text_of(bytes).into();
    let below = path.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty()).unwrap_or(path);
    Ok(SourceFile { path: below.to_string_lossy().into_owned(), text })
}

/// A file's text. What is no UTF-8 must not keep the other files from being used: whoever reads the text will say what is wrong there.
fn text_of(bytes: Vec<u8>) -> String {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<_> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    // As Windows' own editor saves what it calls Unicode.
    match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(u16::from_le_bytes),
        Some([0xfe, 0xff]) => utf16(u16::from_be_bytes),
        _ => String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}
