//! The reference in docs/reference, written from what it is about: the configuration's types, the metrics' descriptions, the command
//! line's declaration. `make reference` writes it anew; the tests fail where it is not what the code says.

mod commands;
mod configuration;
mod metrics;

use std::{env, fs, path::PathBuf};

/// What stands above each page.
const NOTE: &str = "<!-- Written from the code by `make reference`. Don't edit it here: a test compares it. -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a page with the one in docs/reference, or writes it where `UPDATE_REFERENCE` is set.
fn hold(name: &str, page: &str) {
    let path = root().join("docs/reference").join(name);
    let page = format!("{NOTE}\n\n{}\n", page.trim());
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).find(|(committed, page)| committed != page);
    assert!(
        committed == page,
        "docs/reference/{name} is not what the code says: run `make reference`; first at {differs:#?}"
    );
}

/// A text as one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
