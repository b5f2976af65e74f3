//! Events that have what rules ask about where no path leads: lists of names and values, JSON written as text, arguments one by one,
//! a key and its value's name in two fields. They are given it under names that lead there, beside what they have.
//!
//! What is added stands behind what the sender wrote, which stays as it is: of a key that is there twice, both count.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::json::{Document, Node};

/// A form of log that is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Windows events whose `EventData.Data` is a list of names and values, as converters of their XML write them.
    NamedData,
    /// EvtxECmd: the event's data is JSON as text in `Payload`.
    EvtxEcmd,
    /// LAUREL: the records' types are keys, arguments are a list.
    Laurel,
    /// Wazuh doubles backslashes in Windows events.
    Wazuh,
    /// Defender XDR, in the row itself.
    Defender,
    /// Defender XDR, in `properties`.
    DefenderStreamed,
}

/// The most arguments that get names of their own.
const MOST_ARGUMENTS: usize = 64;

/// The keys that forms are told by, beside those of [`is_record`].
pub(crate) const KEYS: &[&str] =
    &["Event", "EventData", "EventId", "Payload", "ID", "data", "ActionType", "DeviceId", "DeviceName", "properties"];

impl Form {
    /// The form of the object at this node, told by its keys and by what is an object or a list.
    pub(crate) fn of(document: &Document<'_>, object: usize) -> Option<Self> {
        let mut told = Told::default();
        for (key, at, node) in document.entries(object) {
            match key {
                "Event" | "EventData" if has_named_data(document, key, at) => return Some(Self::NamedData),
                "EventId" => told.event_id = true,
                "Payload" => told.payload = matches!(node, Node::String(_)),
                "ID" => told.id = true,
                "type" => told.kind = true,
                "data" if below(document, at, &["win", "eventdata"]).is_some() => return Some(Self::Wazuh),
                "ActionType" => told.action = true,
                "DeviceId" | "DeviceName" => told.device = true,
                "properties" if below(document, at, &["ActionType"]).is_some() => {
                    let named = ["DeviceId", "DeviceName"].iter().any(|key| below(document, at, &[*key]).is_some());
                    if named {
                        return Some(Self::DefenderStreamed);
                    }
                }
                _ if is_record(key) && matches!(node, Node::Object { .. } | Node::Array { .. }) => told.record = true,
                _ => {}
            }
        }
        match told {
            Told { event_id: true, payload: true, .. } => Some(Self::EvtxEcmd),
            Told { id: true, record: true, kind: false, .. } => Some(Self::Laurel),
            Told { action: true, device: true, .. } => Some(Self::Defender),
            _ => None,
        }
    }

    /// The object, which `bytes` are, with what is added; `None` where nothing is.
    pub(crate) fn reshape(self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Wazuh {
            return undoubled(bytes);
        }
        let event: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        let mut added = Map::new();
        match self {
            Self::NamedData => {
                let inside = event.get("Event").and_then(|event| event.get("EventData"));
                for (around, data) in [(Some("Event"), inside), (None, event.get("EventData"))] {
                    let Some(data) = data.and_then(|data| data.get("Data")).and_then(named) else { continue };
                    let data = Map::from_iter([("EventData".to_owned(), Value::Object(data))]);
                    match around {
                        Some(around) => drop(added.insert(around.to_owned(), data.into())),
                        None => added.extend(data),
                    }
                }
            }
            Self::EvtxEcmd => {
                let mut payload: Value = serde_json::from_str(event.get("Payload")?.as_str()?).ok()?;
                for part in ["EventData", "UserData"] {
                    if let Some(data) = payload.get(part).and_then(|part| part.get("Data")).and_then(named) {
                        payload[part] = data.into();
                    }
                }
                payload.is_object().then(|| added.insert("Payload".to_owned(), payload));
            }
            Self::Laurel => laurel(&event, &mut added),
            Self::Defender => defender(&event, &mut added),
            Self::DefenderStreamed => defender(event.get("properties")?.as_object()?, &mut added),
            Self::Wazuh => {}
        }
        if added.is_empty() {
            return None;
        }
        let open = bytes.trim_ascii_end().strip_suffix(b"}")?;
        let added = serde_json::to_vec(&added).ok()?;
        Some([open, b",", added.get(1..)?].concat())
    }
}

/// What keys tell.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key")]
struct Told {
    event_id: bool,
    payload: bool,
    id: bool,
    kind: bool,
    record: bool,
    action: bool,
    device: bool,
}

/// What is at a path below a node.
fn below(document: &Document<'_>, at: usize, path: &[&str]) -> Option<usize> {
    path.iter().try_fold(at, |at, wanted| document.entries(at).find(|(key, ..)| key == wanted).map(|(_, at, _)| at))
}

fn has_named_data(document: &Document<'_>, key: &str, at: usize) -> bool {
    let path: &[&str] = if key == "Event" { &["EventData", "Data"] } else { &["Data"] };
    let Some(data) = below(document, at, path) else { return false };
    let first = match document.node(data) {
        Some(Node::Array { len: 1.., .. }) => data + 1,
        _ => data,
    };
    document.entries(first).any(|(key, ..)| NAMES.contains(&key))
}

/// Whether a key of LAUREL is a record's type.
pub(crate) fn is_record(key: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    key.len() > 2 && key.bytes().all(is_part) && !["NODE", "PARENT_INFO", "CONTAINER_INFO", "LABELS"].contains(&key)
}

/// What converters of XML call the attribute `Name`, …
const NAMES: [&str; 5] = ["@Name", "Name", "name", "key", "Key"];
/// … and what stands inside of the element.
const VALUES: [&str; 9] = ["#text", "text", "Value", "value", "_value", "_", "$t", "content", "__text"];

/// A list of names and values as an object. What has no name is under `Data`.
fn named(data: &Value) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut any = false;
    let list = match data {
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    for element in list {
        let value = VALUES.iter().find_map(|key| element.get(key)).cloned();
        match NAMES.iter().find_map(|key| element.get(key)?.as_str()) {
            Some(name) => {
                any = true;
                add(&mut object, name, value.unwrap_or_else(|| "".into()));
            }
            None => add(&mut object, "Data", value.unwrap_or_else(|| element.clone())),
        }
    }
    any.then_some(object)
}

/// Adds a value; several under the same key are a list.
fn add(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        None => drop(object.insert(key.to_owned(), value)),
        Some(Value::Array(list)) => list.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

fn laurel(event: &Map<String, Value>, added: &mut Map<String, Value>) {
    let mut types: Vec<_> = event.keys().filter(|key| is_record(key)).map(String::as_str).collect();
    types.sort_unstable();
    added.insert("type".to_owned(), types.into());
    let arguments = |record: &str| -> Vec<&str> {
        let list = event.get(record).and_then(|record| record.get("ARGV")?.as_array());
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let is_there = |record: &str| event.get(record).is_some_and(|record| record.get("ARGV_STR").is_some());
    let (own, title) = (arguments("EXECVE"), arguments("PROCTITLE"));
    for (at, argument) in own.iter().enumerate().take(MOST_ARGUMENTS) {
        added.insert(format!("a{at}"), (*argument).into());
    }
    let line = if own.is_empty() { title } else { own };
    if !line.is_empty() && !is_there("EXECVE") {
        added.insert("CommandLine".to_owned(), line.join(" ").into());
    }
    let parent = arguments("PARENT_INFO");
    if !parent.is_empty() && !is_there("PARENT_INFO") {
        added.insert("ParentCommandLine".to_owned(), parent.join(" ").into());
    }
}

/// What Sysmon calls registry events, by the action.
const REGISTRY: [(&str, &str); 5] = [
    ("RegistryValueSet", "SetValue"),
    ("RegistryKeyCreated", "CreateKey"),
    ("RegistryKeyDeleted", "DeleteKey"),
    ("RegistryValueDeleted", "DeleteValue"),
    ("RegistryKeyRenamed", "RenameKey"),
];

/// How Sysmon writes the registry's hives. Of the current user's, it has the one that it is.
const HIVES: [(&str, &str); 4] = [
    ("HKEY_LOCAL_MACHINE", "HKLM"),
    ("HKEY_CURRENT_USER", "HKU"),
    ("HKEY_USERS", "HKU"),
    ("HKEY_CLASSES_ROOT", "HKCR"),
];

fn defender(row: &Map<String, Value>, added: &mut Map<String, Value>) {
    let text = |key: &str| row.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut put = |key: &str, value: Value| drop(added.insert(key.to_owned(), value));
    let action = text("ActionType").unwrap_or_default();
    if let Some(key) = text("RegistryKey") {
        let hive = HIVES.iter().find_map(|(long, short)| {
            let rest = key.get(..long.len()).filter(|start| start.eq_ignore_ascii_case(long));
            rest.map(|_| format!("{short}{}", &key[long.len()..]))
        });
        let name = text("RegistryValueName").map(|name| format!("\\{name}")).unwrap_or_default();
        put("TargetObject", format!("{}{name}", hive.as_deref().unwrap_or(key)).into());
    }
    if let Some((_, kind)) = REGISTRY.iter().find(|(known, _)| *known == action) {
        put("EventType", (*kind).into());
    }
    if action.starts_with("Connection") || action == "InboundConnectionAccepted" {
        put("Initiated", if action.starts_with("Connection") { "true" } else { "false" }.into());
    }
    // The account of the process that began, or of the one that did something.
    let account = ["", "InitiatingProcess"].iter().find_map(|whose| {
        let (domain, name) = (text(&format!("{whose}AccountDomain"))?, text(&format!("{whose}AccountName"))?);
        Some(format!("{domain}\\{name}"))
    });
    if let Some(account) = account {
        put("User", account.into());
    }
    // The folder mostly ends in the file's name, but need not.
    for whose in ["", "InitiatingProcess"] {
        let folder = format!("{whose}FolderPath");
        if let (Some(path), Some(name)) = (text(&folder), text(&format!("{whose}FileName")))
            && !path.to_lowercase().ends_with(&name.to_lowercase())
        {
            let separator = if path.contains('/') { '/' } else { '\\' };
            put(&folder, format!("{}{separator}{name}", path.trim_end_matches(separator)).into());
        }
    }
    if let Some(Ok(fields @ Value::Object(_))) = text("AdditionalFields").map(serde_json::from_str) {
        put("AdditionalFields", fields);
    }
}

/// With the backslashes in the event's data once, if all of them are there twice.
fn undoubled(bytes: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Alert<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        win: Win<'a>,
    }
    #[derive(Deserialize)]
    struct Win<'a> {
        #[serde(borrow)]
        eventdata: &'a RawValue,
    }
    let alert: Alert<'_> = serde_json::from_slice(bytes).ok()?;
    let data = alert.data.win.eventdata.get().as_bytes();
    // It stands somewhere in these bytes.
    let start = (data.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let mut halved = Vec::with_capacity(data.len());
    let (mut at, mut any) = (0, false);
    while at < data.len() {
        let run = data[at..].iter().take_while(|byte| **byte == b'\\').count();
        // An odd one escapes what follows.
        let (pairs, escape) = (run / 2, run % 2);
        if pairs % 2 == 1 {
            return None;
        }
        any |= pairs > 0;
        halved.extend(std::iter::repeat_n(b'\\', pairs / 2 * 2 + escape));
        at += run;
        if let Some(byte) = data.get(at) {
            halved.push(*byte);
            at += 1;
        }
    }
    any.then(|| [&bytes[..start], &halved, &bytes[start + data.len()..]].concat())
}

/// The payload's bytes in an envelope's.
pub(crate) fn payload_in(envelope: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(envelope).ok()?;
    Some(envelope.payload.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, Reader};

    fn reshaped(event: &str) -> Option<(Form, Option<String>)> {
        let mut reader = Reader::new(Limits::default());
        let form = Form::of(&reader.read(event.as_bytes()).unwrap(), 0)?;
        Some((form, form.reshape(event.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())))
    }

    #[test]
    fn what_is_added_stands_behind_what_was_there() {
        for (event, form, added) in [
            (
                r##"{"Event":{"EventData":{"Data":[{"@Name":"Image","#text":"a"},{"@Name":"B"},{"#text":"c"}]}}}"##,
                Form::NamedData,
                r##","Event":{"EventData":{"B":"","Data":"c","Image":"a"}}}"##,
            ),
            (
                r##"{"Event":{"EventData":{"Data":{"Name":"Image","Value":"a"}}}} "##,
                Form::NamedData,
                r##","Event":{"EventData":{"Image":"a"}}}"##,
            ),
            (
                r##"{"EventId":1,"Payload":"{\"EventData\":{\"Data\":[{\"@Name\":\"A\",\"#text\":\"x\\\\y\"}]}}"}"##,
                Form::EvtxEcmd,
                r##","Payload":{"EventData":{"A":"x\\y"}}}"##,
            ),
            (
                r##"{"ID":"1:2","NODE":"n","SYSCALL":{"a0":"0x1"},"EXECVE":{"argc":2,"ARGV":["ls","-l"]}}"##,
                Form::Laurel,
                r##","CommandLine":"ls -l","a0":"ls","a1":"-l","type":["EXECVE","SYSCALL"]}"##,
            ),
            (
                r##"{"ActionType":"RegistryValueSet","DeviceName":"d","RegistryKey":"HKEY_LOCAL_MACHINE\\A","RegistryValueName":"b"}"##,
                Form::Defender,
                r##","EventType":"SetValue","TargetObject":"HKLM\\A\\b"}"##,
            ),
            (
                r##"{"category":"x","properties":{"ActionType":"ConnectionSuccess","DeviceId":"d","AdditionalFields":"{\"a\":1}"}}"##,
                Form::DefenderStreamed,
                r##","AdditionalFields":{"a":1},"Initiated":"true"}"##,
            ),
            (
                r##"{"ActionType":"FileCreated","DeviceId":"d","FolderPath":"C:\\x","FileName":"a.exe"}"##,
                Form::Defender,
                r##","FolderPath":"C:\\x\\a.exe"}"##,
            ),
        ] {
            let (found, event_again) = reshaped(event).unwrap();
            let event_again = event_again.unwrap();
            let rest = event_again.strip_prefix(event.trim_end().strip_suffix('}').unwrap()).unwrap();
            // In whatever order the keys are written.
            let object = |members: &str| -> Value { serde_json::from_str(&members.replacen(',', "{", 1)).unwrap() };
            assert_eq!((found, object(rest)), (form, object(added)), "{event}");
        }
    }

    #[test]
    fn backslashes_are_halved_where_all_are_doubled() {
        let event = |image: &str| {
            format!(r##"{{"data":{{"win":{{"eventdata":{{"image":"{image}","b":"q\"\n"}}}}}},"x":"\\\\"}}"##)
        };
        let halved = |image| reshaped(&event(image)).and_then(|(_, event)| event);
        assert_eq!(halved(r"C:\\\\a\\\\b"), Some(event(r"C:\\a\\b")));
        assert_eq!(halved(r"C:\\\\a\\b"), None);
        assert_eq!(halved(r"C:\\a\\b"), None);
        assert_eq!(halved("none"), None);
    }

    #[test]
    fn other_events_are_left_alone() {
        for event in [
            r##"{"EventID":1,"Channel":"Security"}"##,
            r##"{"Event":{"EventData":{"Data":"text"}}}"##,
            r##"{"Event":{"EventData":{"Image":"a"}}}"##,
            r##"{"ID":"1","name":"x"}"##,
            r##"{"ID":"1","SYSCALL":{},"type":["SYSCALL"]}"##,
            r##"{"data":{"win":1}}"##,
            r##"{"ActionType":"x"}"##,
        ] {
            assert_eq!(reshaped(event), None, "{event}");
        }
        for event in [r##"{"EventId":1,"Payload":"no JSON"}"##, r##"{"ActionType":"FileCreated","DeviceId":"d"}"##] {
            assert_eq!(reshaped(event).and_then(|(_, event)| event), None, "{event}");
        }
    }
}
