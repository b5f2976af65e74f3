//! Which objects are wrapped around events, told by their keys and by what is an object or a list, not by values.
//!
//! An object is only taken for a wrapper if all else in it is of the kind that stands beside events: a log may have a field
//! `value`, too.

use crate::json::{Document, Node};

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object.
    Object,
    /// A list that is empty or begins with an object.
    Objects,
    /// Any other list.
    List,
    /// A text, a number, a truth value or null.
    Plain,
}

/// How a member holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// As a list's elements.
    List,
    /// As one object, which may be wrapped around others.
    Object,
    /// As text, if it reads as an event; else the object is an event as it stands.
    Text,
    /// As text that is nothing but an event.
    OnlyText,
}

/// The member that holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapper {
    pub(crate) holds: Holds,
    /// Its number among the members.
    pub(crate) member: usize,
}

/// What may stand beside a member that holds events; a bit each.
mod beside {
    /// What an answer says about itself: how much there is, and where more is.
    pub(super) const PAGE: u8 = 1;
    /// What a search engine says about a document.
    pub(super) const HIT: u8 = 2;
    /// What Splunk says about a result.
    pub(super) const RESULT: u8 = 4;
    /// What Splunk's HTTP event collector takes beside an event.
    pub(super) const COLLECTED: u8 = 8;
    /// What EventBridge says about an event.
    pub(super) const BUS: u8 = 16;
    /// What shippers say about a line.
    pub(super) const SHIPPED: u8 = 32;
    /// What a queue says about a message.
    pub(super) const QUEUED: u8 = 64;
    /// Anything.
    pub(super) const ANY: u8 = 128;
}

/// Objects of more members are events.
const MOST: usize = 64;

/// The keys of members that may hold events.
pub(crate) const KEYS: &[&str] = &[
    "Records",
    "records",
    "value",
    "Events",
    "events",
    "items",
    "logEvents",
    "entries",
    "results",
    "Results",
    "responses",
    "Findings",
    "findings",
    "alerts",
    "logs",
    "data",
    "hits",
    "_source",
    "result",
    "event",
    "detail",
    "AuditData",
    "auditData",
    "CloudTrailEvent",
    "Message",
    "Body",
    "body",
    "_raw",
    "message",
    "MESSAGE",
    "log",
    "msg",
    "line",
    "textPayload",
];

/// How a member of this key and shape may hold events: with what beside it, and how many others at least.
fn may_hold(key: &str, shape: Shape) -> Option<(Holds, u8, usize)> {
    use Shape::{List, Object, Objects, Plain};
    use beside::{ANY, BUS, COLLECTED, HIT, PAGE, QUEUED, RESULT, SHIPPED};
    let told = match (key, shape) {
        // CloudTrail, S3; Azure's diagnostic settings.
        ("Records" | "records", Objects | List) => (Holds::List, PAGE, 0),
        // Microsoft Graph; CloudTrail's LookupEvents; Kubernetes; subscriptions of CloudWatch; Google's Logging; searches of
        // Splunk, Defender and others.
        (
            "value" | "Events" | "events" | "items" | "logEvents" | "entries" | "results" | "Results" | "responses"
            | "Findings" | "findings" | "alerts" | "logs" | "data" | "hits",
            Objects,
        ) => (Holds::List, PAGE, 0),
        // Elasticsearch, OpenSearch.
        ("hits", Object) => (Holds::Object, PAGE, 0),
        ("_source", Object) => (Holds::Object, HIT, 0),
        ("result", Object) => (Holds::Object, RESULT, 0),
        ("event", Object) => (Holds::Object, COLLECTED, 1),
        ("event", Plain) => (Holds::Text, COLLECTED, 1),
        ("detail", Object) => (Holds::Object, BUS, 3),
        // Microsoft 365's unified audit log.
        ("AuditData" | "auditData", Object) => (Holds::Object, ANY, 0),
        ("AuditData" | "auditData" | "CloudTrailEvent", Plain) => (Holds::OnlyText, ANY, 0),
        // Notifications of SNS, messages of SQS.
        ("Message" | "Body" | "body", Plain) => (Holds::Text, QUEUED, 2),
        ("_raw", Plain) => (Holds::Text, ANY, 0),
        ("message" | "MESSAGE" | "log" | "msg" | "line" | "textPayload", Plain) => (Holds::Text, SHIPPED, 0),
        _ => return None,
    };
    debug_assert!(KEYS.contains(&key), "{key} is looked for");
    Some(told)
}

/// Beside what a member of this key may stand.
fn stands_beside(key: &str) -> u8 {
    use beside::{ANY, BUS, COLLECTED, HIT, PAGE, QUEUED, RESULT, SHIPPED};
    let by_name = match key {
        "nextLink"
        | "next_link"
        | "nextToken"
        | "NextToken"
        | "next_token"
        | "nextPageToken"
        | "next_page"
        | "next"
        | "previous"
        | "prev"
        | "cursor"
        | "count"
        | "Count"
        | "total"
        | "Total"
        | "totalCount"
        | "total_count"
        | "size"
        | "limit"
        | "page"
        | "pages"
        | "pageSize"
        | "perPage"
        | "hasMore"
        | "has_more"
        | "kind"
        | "apiVersion"
        | "etag"
        | "took"
        | "timed_out"
        | "pit_id"
        | "num_reduced_phases"
        | "terminated_early"
        | "aggregations"
        | "suggest"
        | "profile"
        | "max_score"
        | "status"
        | "stat"
        | "success"
        | "error"
        | "errors"
        | "pagination"
        | "paging"
        | "links"
        | "meta"
        | "schema"
        | "Schema"
        | "stats"
        | "Stats"
        | "init_offset"
        | "post_process_count"
        | "messages"
        | "highlighted"
        | "messageType"
        | "logGroup"
        | "logStream"
        | "subscriptionFilters"
        | "ResponseMetadata"
        | "requestId"
        | "request_id" => PAGE,
        "preview" | "owner" => PAGE | RESULT,
        "fields" => PAGE | HIT | COLLECTED | SHIPPED,
        "metadata" => PAGE | SHIPPED,
        "sort" | "highlight" | "inner_hits" | "matched_queries" | "found" => HIT,
        "offset" => RESULT | SHIPPED,
        "lastrow" | "sid" | "search_name" | "results_link" => RESULT,
        "app" => RESULT | SHIPPED,
        "time" | "source" => COLLECTED | BUS | SHIPPED,
        "host" | "sourcetype" | "index" => COLLECTED | SHIPPED,
        "version" | "id" => BUS | SHIPPED,
        "Type" | "MessageId" | "messageId" | "TopicArn" | "Subject" | "Timestamp" | "SignatureVersion"
        | "Signature" | "SigningCertURL" | "UnsubscribeURL" | "MessageAttributes" | "ReceiptHandle"
        | "receiptHandle" | "MD5OfBody" | "md5OfBody" | "Attributes" | "attributes" | "messageAttributes"
        | "eventSource" | "eventSourceARN" | "awsRegion" => QUEUED,
        "PRIORITY" | "MESSAGE_ID" | "CODE_FILE" | "CODE_LINE" | "CODE_FUNC" | "TID" | "UNIT" | "INVOCATION_ID" => {
            SHIPPED
        }
        "detail-type" | "account" | "region" | "resources" | "replay-name" => BUS,
        "@timestamp" | "@version" | "@metadata" | "timestamp" | "ts" | "hostname" | "agent" | "ecs" | "input"
        | "log" | "tags" | "beat" | "prospector" | "source_type" | "type" | "stream" | "facility"
        | "facility_label" | "severity" | "severity_label" | "program" | "pid" | "ident" | "priority" | "pri"
        | "level" | "logsource" | "kubernetes" | "docker" | "container" | "container_id" | "container_name"
        | "cloud" | "orchestrator" | "port" | "event" | "fileset" | "service" | "appname" | "procid" | "msgid"
        | "file" | "path" | "partition" | "topic" | "ingestionTime" | "elastic_agent" | "data_stream" | "syslog"
        | "time_nano" => SHIPPED,
        _ if key.starts_with("@odata.") || key.starts_with("odata.") => PAGE,
        "@nextLink" => PAGE,
        "_shards" | "_scroll_id" | "_clusters" | "_links" => PAGE | HIT,
        // The journal's own.
        _ if key.starts_with("SYSLOG_") => SHIPPED,
        _ if key.starts_with('_') => HIT | SHIPPED,
        _ => 0,
    };
    by_name | ANY
}

impl Wrapper {
    /// What holds events in an object of these members.
    pub(crate) fn of<'k>(members: &(impl Iterator<Item = (&'k str, Shape)> + Clone)) -> Option<Self> {
        let candidates = members.clone().enumerate().filter_map(|(member, (key, shape))| {
            let (holds, beside, least) = may_hold(key, shape)?;
            Some((Self { holds, member }, beside, least))
        });
        let mut found: Option<Self> = None;
        for (wrapper, beside, least) in candidates {
            let mut others = members.clone().enumerate().filter(|(at, _)| *at != wrapper.member).take(MOST);
            let mut count = 0;
            let are_beside = others.all(|(_, (key, _))| {
                count += 1;
                stands_beside(key) & beside != 0
            });
            // A list of events goes before what might be one event.
            let is_better = found.is_none_or(|found| wrapper.holds == Holds::List && found.holds != Holds::List);
            if are_beside && (least..MOST).contains(&count) && is_better {
                found = Some(wrapper);
            }
        }
        found
    }

    /// What holds events in an object of a document, with the node of it.
    pub(crate) fn in_document(document: &Document<'_>, object: usize) -> Option<(Holds, usize)> {
        let shape = |at: usize, node: Node<'_>| match node {
            Node::Object { .. } => Shape::Object,
            Node::Array { len: 0, .. } => Shape::Objects,
            Node::Array { .. } if matches!(document.node(at + 1), Some(Node::Object { .. })) => Shape::Objects,
            Node::Array { .. } => Shape::List,
            _ => Shape::Plain,
        };
        let wrapper = Self::of(&document.entries(object).map(|(key, at, node)| (key, shape(at, node))))?;
        let (_, at, _) = document.entries(object).nth(wrapper.member)?;
        Some((wrapper.holds, at))
    }
}

/// Whether text looks as if it were an event.
pub(crate) fn may_be_event(text: &str) -> bool {
    let text = text.trim_start();
    match text.as_bytes().first() {
        Some(b'{' | b'<') => true,
        Some(b'[') => text[1..].trim_start().starts_with('{'),
        Some(b'C' | b'L' | b'@') => ["CEF:", "LEEF:", "@cee:"].iter().any(|mark| text.starts_with(mark)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Shape::{List, Object, Objects, Plain};

    fn of(members: &[(&str, Shape)]) -> Option<(Holds, String)> {
        Wrapper::of(&members.iter().copied()).map(|found| (found.holds, members[found.member].0.to_owned()))
    }

    #[test]
    fn what_is_beside_decides_whether_a_member_holds_events() {
        let holds = |holds, key: &str| Some((holds, key.to_owned()));
        for (members, expected) in [
            (&[("Records", Objects)][..], holds(Holds::List, "Records")),
            (&[("Records", List)], holds(Holds::List, "Records")),
            (&[("@odata.context", Plain), ("value", Objects)], holds(Holds::List, "value")),
            (&[("value", List)], None),
            (&[("name", Plain), ("value", Objects)], None),
            (&[("query", Plain), ("records", Objects)], None),
            (
                &[("kind", Plain), ("apiVersion", Plain), ("metadata", Object), ("items", Objects)],
                holds(Holds::List, "items"),
            ),
            (&[("took", Plain), ("_shards", Object), ("hits", Object)], holds(Holds::Object, "hits")),
            (&[("total", Object), ("max_score", Plain), ("hits", Objects)], holds(Holds::List, "hits")),
            (&[("_index", Plain), ("_id", Plain), ("_source", Object)], holds(Holds::Object, "_source")),
            (&[("preview", Plain), ("offset", Plain), ("result", Object)], holds(Holds::Object, "result")),
            (&[("user", Plain), ("result", Object)], None),
            (&[("time", Plain), ("sourcetype", Plain), ("event", Object)], holds(Holds::Object, "event")),
            (&[("event", Object)], None),
            (&[("@timestamp", Plain), ("event", Object), ("process", Object)], None),
            (&[("anything", Plain), ("AuditData", Plain)], holds(Holds::OnlyText, "AuditData")),
            (&[("@timestamp", Plain), ("agent", Object), ("message", Plain)], holds(Holds::Text, "message")),
            (&[("@timestamp", Plain), ("winlog", Object), ("message", Plain)], None),
            (&[("log", Plain), ("stream", Plain), ("time", Plain)], holds(Holds::Text, "log")),
            (&[("log", Object), ("message", Plain)], holds(Holds::Text, "message")),
            (&[("Type", Plain), ("TopicArn", Plain), ("Message", Plain)], holds(Holds::Text, "Message")),
            (&[("Channel", Plain), ("EventID", Plain), ("Message", Plain)], None),
            (&[("__CURSOR", Plain), ("SYSLOG_IDENTIFIER", Plain), ("MESSAGE", Plain)], holds(Holds::Text, "MESSAGE")),
        ] {
            assert_eq!(of(members), expected, "{members:?}");
        }
    }
}
