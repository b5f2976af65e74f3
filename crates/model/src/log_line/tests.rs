use serde_json::json;

use super::*;

fn read(line: &str) -> Value {
    to_json(line.as_bytes()).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap())
}

#[test]
fn syslog_is_read_as_it_is_written() {
    for (line, expected) in [
        (
            // RFC 5424, section 6.5.
            r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\]lication" eventID="1011"] An application event log entry"#,
            json!({"timestamp": "2003-10-11T22:14:15.003Z", "hostname": "mymachine.example.com", "program": "evntslog",
                "msgid": "ID47", "version": 1, "facility": "local4", "severity": "notice",
                "structured_data": {"exampleSDID@32473": {"iut": "3", "eventSource": "App]lication", "eventID": "1011"}},
                "message": "An application event log entry"}),
        ),
        (
            // RFC 3164, section 5.4.
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            json!({"timestamp": "Oct 11 22:14:15", "hostname": "mymachine", "program": "su", "facility": "auth",
                "severity": "crit", "message": "'su root' failed for lonvick on /dev/pts/8"}),
        ),
        (
            "Mar  1 10:00:00 web1 sshd[4711]: Failed password for root",
            json!({"timestamp": "Mar  1 10:00:00", "hostname": "web1", "program": "sshd", "pid": 4711,
                "message": "Failed password for root"}),
        ),
        (
            "2026-03-01T10:00:00.123456+01:00 web1 kernel: [  1.0] x",
            json!({"timestamp": "2026-03-01T10:00:00.123456+01:00", "hostname": "web1", "program": "kernel",
                "message": "[  1.0] x"}),
        ),
        (
            "<189>*Mar  1 2026 18:46:11.000: %SYS-5-CONFIG_I: Configured",
            json!({"timestamp": "Mar  1 2026 18:46:11.000:", "program": "%SYS-5-CONFIG_I", "facility": "local7",
                "severity": "notice", "message": "Configured"}),
        ),
        ("<13>no header at all", json!({"facility": "user", "severity": "notice", "message": "no header at all"})),
        (r#"<30>1 2026-03-01T10:00:00Z h suricata 1 - - {"event_type":"dns"}"#, json!({"event_type": "dns"})),
        (r#"Mar  1 10:00:00 h app: @cee: {"a":1}"#, json!({"a": 1})),
        (
            "Mar  1 10:00:00 h app: {not json}",
            json!({"timestamp": "Mar  1 10:00:00", "hostname": "h", "program": "app", "message": "{not json}"}),
        ),
        ("just words", Value::Null),
        ("March 1 is no time", Value::Null),
        ("<999>x", Value::Null),
        ("", Value::Null),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
}

#[test]
fn cef_and_leef_have_their_own_names_and_escapes() {
    for (line, expected) in [
        (
            r"CEF:0|Security|threat\|manager|1.0|100|detected a \\ in message|10|src=10.0.0.1 act=blocked a \\ msg=a\=b request=http://x/?c=d cs1=Deny all cs1Label=Policy spt=1232",
            json!({"cefVersion": 0, "deviceVendor": "Security", "deviceProduct": "threat|manager", "deviceVersion": "1.0",
                "deviceEventClassId": 100, "name": r"detected a \ in message", "severity": 10, "src": "10.0.0.1",
                "act": r"blocked a \", "msg": "a=b", "request": "http://x/?c=d", "cs1": "Deny all", "cs1Label": "Policy",
                "Policy": "Deny all", "spt": 1232}),
        ),
        (
            "<134>Feb 14 19:04:54 fw1 CEF:0|Vendor|Product|1|id|Name|5|",
            json!({"cefVersion": 0, "deviceVendor": "Vendor", "deviceProduct": "Product", "deviceVersion": 1,
                "deviceEventClassId": "id", "name": "Name", "severity": 5, "hostname": "fw1"}),
        ),
        (
            "LEEF:1.0|Microsoft|MSExchange|4.0 SP1|15345|src=192.0.2.0\tdst=172.50.123.1\tsev=5\tmsg=a=b",
            json!({"leefVersion": "1.0", "vendor": "Microsoft", "product": "MSExchange", "version": "4.0 SP1",
                "eventId": 15345, "src": "192.0.2.0", "dst": "172.50.123.1", "sev": 5, "msg": "a=b"}),
        ),
        (
            "Jan 18 11:07:53 192.168.1.1 LEEF:2.0|Lancope|StealthWatch|1.0|41|^|src=10.0.1.8^dst=10.0.0.5^sev=5",
            json!({"leefVersion": "2.0", "vendor": "Lancope", "product": "StealthWatch", "version": "1.0", "eventId": 41,
                "src": "10.0.1.8", "dst": "10.0.0.5", "sev": 5, "hostname": "192.168.1.1"}),
        ),
        (
            "LEEF:2.0|V|P|1|2|x5E|a=b^c=d",
            json!({"leefVersion": "2.0", "vendor": "V", "product": "P", "version": 1, "eventId": 2, "a": "b", "c": "d"}),
        ),
        ("CEF:0|too|short", Value::Null),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
}

#[test]
fn audit_records_have_their_hexadecimal_texts_read() {
    let line = "node=h type=EXECVE msg=audit(1364481363.243:24287): argc=2 a0=\"cat\" a1=2F6574632F612062";
    let expected = json!({"node": "h", "type": "EXECVE", "msg": "audit(1364481363.243:24287)", "argc": 2, "a0": "cat",
        "a1": "/etc/a b"});
    assert_eq!(read(line), expected);
    let line = "type=USER_LOGIN msg=audit(1.2:3): pid=1 msg='op=login acct=\"root\" res=failed' \x1dUID=\"root\"";
    let found = read(line);
    assert_eq!((&found["op"], &found["acct"], &found["UID"]), (&json!("login"), &json!("root"), &json!("root")));
    let line = "type=SYSCALL msg=audit(1.2:3): arch=c000003e a0=2f62 comm=\"cat\" key=\"k\"";
    assert_eq!((&read(line)["a0"], &read(line)["comm"]), (&json!("2f62"), &json!("cat")));
}

#[test]
fn a_windows_event_is_read_as_from_its_file() {
    let event = r#"<?xml version="1.0" encoding="utf-8"?>
        <Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name='Microsoft-Windows-Sysmon'/>
        <EventID Qualifiers="0">1</EventID><Channel>Microsoft-Windows-Sysmon/Operational</Channel><Correlation/></System>
        <EventData><Data Name="Image">C:\a &amp; b.exe</Data><Data Name="CommandLine"><![CDATA[x <y>]]></Data>
        <Data Name="User"></Data><Data>one</Data><Data>two&#33;</Data></EventData></Event>"#;
    let expected = json!({"Event": {
        "System": {"Provider": {"#attributes": {"Name": "Microsoft-Windows-Sysmon"}},
            "EventID": {"#attributes": {"Qualifiers": 0}, "#text": 1},
            "Channel": "Microsoft-Windows-Sysmon/Operational", "Correlation": null},
        "EventData": {"Image": r"C:\a & b.exe", "CommandLine": "x <y>", "User": "", "Data": ["one", "two!"]}}});
    assert_eq!(read(event), expected);
    assert_eq!(read(&format!("Mar  1 10:00:00 web1 sysmon: {}", event.replace('\n', " "))), expected);
    assert_eq!(read("<Events><Event><a>1</a></Event><Event/></Events>"), json!([{"Event": {"a": 1}}, {"Event": null}]));
    for refused in [
        "<html><body>x</body></html>",
        "<Event><a></Event>",
        "<Event>",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><Event>&a;</Event>",
        "<Event>&a;</Event>",
        &"<Event>".repeat(100_000),
    ] {
        assert_eq!(read(refused), Value::Null);
    }
}

#[test]
fn only_what_is_written_as_a_number_is_one() {
    for (text, is_number) in [
        ("0", true),
        ("-5", true),
        ("4711", true),
        ("007", false),
        ("1.0", false),
        ("", false),
        ("1e3", false),
        ("-", false),
        ("-0", false),
        ("+1", false),
        ("1234567890123456", false),
    ] {
        assert_eq!(scalar(text).is_number(), is_number, "{text}");
    }
}
