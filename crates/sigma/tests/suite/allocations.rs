//! Memory that an event takes.

use cybervault_sigma::Routing;

use super::{matcher, raw, reader};

const RULES: &str = "
title: Texts
logsource: {category: any}
detection:
  selection: {Image|endswith: '\\evil.exe', CommandLine|contains|all: ['-enc', 'hidden']}
  filter: {User|contains: svc}
  condition: selection and not filter
---
title: Other fields
logsource: {category: any}
detection:
  selection: {Image|fieldref: ParentImage}
  template: {CommandLine|re: '(?i)evil[0-9]+', User|fieldref|startswith: ParentImage}
  condition: selection or template
---
title: Addresses and numbers
logsource: {category: any}
detection:
  inside: {DestinationIp|cidr: ['10.0.0.0/8', 'fe80::/10']}
  selection: {Port|gt: 60000}
  condition: selection and not inside
---
title: Keywords
logsource: {category: any}
detection:
  keywords: [mimikatz, 'sekurlsa::*passwords']
  condition: keywords
";

#[test]
fn an_event_without_hits_takes_no_memory_once_buffers_have_grown() {
    let matcher = matcher(RULES);
    let (mut reader, mut scratch) = (reader(), matcher.scratch());
    let events: Vec<_> = (0..300)
        .map(|number| {
            let lines: String = (0..number % 7).map(|line| format!("Line {line}: {}\\n", number / 3 * line)).collect();
            format!(
                r#"{{"Image":"C:\\Windows\\{}.exe","ParentImage":"C:\\Windows\\Explorer.exe","CommandLine":"x -enc {number}","User":"ÄB\\u{}","DestinationIp":"10.1.{}.7","Port":{number},"Message":"{lines}"}}"#,
                number % 5,
                number % 3,
                number % 11,
            )
        })
        .collect();
    for round in 0..4 {
        for text in &events {
            let mut hits = usize::MAX;
            let allocated = allocation_counter::measure(|| {
                let document = reader.read(text.as_bytes()).unwrap();
                hits = matcher.matches(&raw(&document, text.as_bytes()), Routing::Off, &mut scratch).len();
            });
            assert_eq!(hits, 0, "{text}");
            assert!(round < 3 || allocated.count_total == 0, "{} times for {text}", allocated.count_total);
        }
    }
}
