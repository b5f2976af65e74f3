//! Which files are meant: those named, those in folders, those that a pattern fits.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use globset::GlobBuilder;

/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 32;

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    /// Whether it was found in a folder, where others may lie that are no logs.
    pub(super) is_found: bool,
}

/// The files that are meant by `paths`, in order; those of a folder or a pattern in the order of their paths.
///
/// # Errors
/// When there is none by a name, or a folder can't be read.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut all = Vec::new();
    for path in paths {
        let named = |path: &Path| Input { path: path.to_owned(), is_found: false };
        match fs::metadata(path) {
            _ if path == Path::new("-") => all.push(named(path)),
            Ok(found) if found.is_dir() => {
                let files = in_folder(path)?;
                if files.is_empty() {
                    bail!("no files in {}", path.display());
                }
                all.extend(files);
            }
            Ok(_) => all.push(named(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(path) => {
                let files = fitting(path)?;
                if files.is_empty() {
                    bail!("no file fits {}", path.display());
                }
                all.extend(files.iter().map(|file| named(&file.path)));
            }
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
    Ok(all)
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<Input>> {
    let mut files = Vec::new();
    walk(folder, MAX_DEPTH, &mut HashSet::new(), &mut files)
        .with_context(|| format!("can't read {}", folder.display()))?;
    files.sort_unstable();
    Ok(files.into_iter().map(|path| Input { path, is_found: true }).collect())
}

/// Adds the files below `folder`, through links, too; each folder once, since links may lead back to it. What is hidden is passed over.
fn walk(folder: &Path, depth: usize, seen: &mut HashSet<PathBuf>, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !seen.insert(fs::canonicalize(folder)?) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link that leads nowhere is no file.
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.is_dir() && depth > 0 {
            walk(&path, depth - 1, seen, files)?;
        } else if found.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// The files that fit a pattern: `logs/*.json`, `logs/**/*.evtx`.
fn fitting(pattern: &Path) -> anyhow::Result<Vec<Input>> {
    let text = pattern.to_string_lossy();
    let glob = GlobBuilder::new(&text).literal_separator(true).build();
    let glob = glob.with_context(|| format!("{text} is no pattern"))?.compile_matcher();
    let mut fixed: PathBuf = pattern.components().take_while(|part| !is_pattern(Path::new(part))).collect();
    if fixed.as_os_str().is_empty() {
        fixed.push(".");
    }
    let is_here = fixed == Path::new(".");
    let mut files = in_folder(&fixed)?;
    files.retain(|file| {
        glob.is_match(if is_here { file.path.strip_prefix(".").unwrap_or(&file.path) } else { &file.path })
    });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn folders_patterns_and_links_name_files_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("logs/deep")).unwrap();
        fs::create_dir(root.join("other")).unwrap();
        for file in ["logs/b.json", "logs/a.json", "logs/deep/c.evtx", "logs/.hidden", "other/d.json"] {
            fs::write(root.join(file), "{}").unwrap();
        }
        std::os::unix::fs::symlink(root.join("other"), root.join("logs/link")).unwrap();
        std::os::unix::fs::symlink(root.join("logs"), root.join("logs/deep/back")).unwrap();
        std::os::unix::fs::symlink(root.join("nowhere"), root.join("logs/dangling")).unwrap();
        let names = |path: &str| -> Vec<String> {
            let found = expand(&[root.join(path)]).unwrap();
            found.iter().map(|file| file.path.strip_prefix(root).unwrap().display().to_string()).collect()
        };
        assert_eq!(names("logs"), ["logs/a.json", "logs/b.json", "logs/deep/c.evtx", "logs/link/d.json"]);
        assert_eq!(names("logs/*.json"), ["logs/a.json", "logs/b.json"]);
        assert_eq!(names("logs/**/*.{evtx,json}").len(), 4);
        assert_eq!(names("logs/a.json"), ["logs/a.json"]);
        for nothing in ["none", "logs/*.xml"] {
            assert!(expand(&[root.join(nothing)]).is_err());
        }
    }
}
