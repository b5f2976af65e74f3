//! Rule files: fewer than there are, and more.

use std::{fs, path::Path};

use serde::Deserialize;
use yaml_serde::{Deserializer, Value};

use crate::Outcome;

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All of a folder and those in it.
pub(crate) fn read(folder: &Path) -> Outcome<Vec<File>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort_by(|one: &File, other| one.path.cmp(&other.path));
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<File>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            files.push(File { path: path.display().to_string(), text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

/// So many: evenly spread where there are more, else with as many variants of each as it takes.
pub(crate) fn scaled(files: &[File], count: usize) -> Outcome<Vec<File>> {
    if count <= files.len() {
        return Ok((0..count).map(|at| files[at * files.len() / count].clone()).collect());
    }
    (0..count).map(|at| variant(&files[at % files.len()], at / files.len())).collect()
}

/// The file with another id and other texts in its rules: number 0 is the file itself. Filters stay: with these gone, rules would
/// hit that hardly ever do.
fn variant(file: &File, number: usize) -> Outcome<File> {
    if number == 0 {
        return Ok(file.clone());
    }
    let mut text = String::new();
    for document in Deserializer::from_str(&file.text) {
        let mut rule = Value::deserialize(document)?;
        if let Some(Value::String(id)) = rule.get_mut("id") {
            id.replace_range(..id.len().min(2), &format!("{number:02x}"));
        }
        if let Some(Value::Mapping(detection)) = rule.get_mut("detection") {
            for (name, asked) in detection.iter_mut() {
                let name = name.as_str().unwrap_or_default();
                if !matches!(name, "condition" | "timeframe") && !name.starts_with("filter") {
                    change("", asked, number);
                }
            }
        }
        text += "---\n";
        text += &yaml_serde::to_string(&rule)?;
    }
    Ok(File { path: format!("{}.{number}", file.path), text })
}

/// Changes every text that `key` is asked for; numbers, networks and names of fields stay.
fn change(key: &str, asked: &mut Value, number: usize) {
    match asked {
        Value::Mapping(fields) => {
            for (key, asked) in fields.iter_mut() {
                change(key.as_str().unwrap_or_default(), asked, number);
            }
        }
        Value::Sequence(values) => values.iter_mut().for_each(|asked| change(key, asked, number)),
        Value::String(text) if key.split('|').any(|part| part == "re") => extend_regex(text, number),
        Value::String(text) if !key.contains("|cidr") && !key.contains("|fieldref") => turn_letter(text, number),
        _ => {}
    }
}

/// Turns the letter in the middle into the one `number` on, so that as many variants differ from each other and the original.
fn turn_letter(text: &mut String, number: usize) {
    let letters: Vec<_> = text.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic()).collect();
    let Some((at, letter)) = letters.get(letters.len() / 2).copied() else { return };
    let place = letter.to_ascii_lowercase() as usize - 'a' as usize;
    text.replace_range(at..=at, &ALPHABET[(place + number) % ALPHABET.len()..][..1]);
}

/// Asks for one letter more at its end: one inside might belong to a class or a group.
fn extend_regex(text: &mut String, number: usize) {
    let end = text.trim_end_matches('$').len();
    text.insert_str(end, &ALPHABET[number % ALPHABET.len()..][..1]);
}

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";
