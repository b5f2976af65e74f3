//! Events of 1 kB for a benchmark: one in ten of them is found by a rule.

use std::io::Write;

/// Of how many events one has a finding.
pub(super) const ONE_IN: u64 = 10;
const SIZE: usize = 1000;
const HOSTS: u64 = 500;

/// Writes event number `number` with the id `id` into `event`, and its key into `key`. All belong to `tenant`.
pub(super) fn write(
    number: u64,
    id: &str,
    tenant: &str,
    key: &mut Vec<u8>,
    event: &mut Vec<u8>,
) -> std::io::Result<()> {
    let (host, pid) = (number % HOSTS, 1000 + number % 60_000);
    let command = if number.is_multiple_of(ONE_IN) {
        r"powershell.exe -NoProfile -EncodedCommand SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAKQA="
    } else {
        r"powershell.exe -NoProfile -File C:\\ProgramData\\Inventory\\collect.ps1 -Site main -Verbose"
    };
    key.clear();
    event.clear();
    write!(key, "{tenant}|ws-{host:04}")?;
    write!(
        event,
        r#"{{"event_id":"{id}","tenant_id":"{tenant}","type":"endpoint_telemetry","occurred_at":"2026-11-02T09:00:00.000Z","payload":{{"hostname":"ws-{host:04}","os":"windows","user":"CORP\\svc-inventory","process_name":"powershell.exe","process_path":"C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe","command_line":"{command}","pid":{pid},"parent_process_name":"svchost.exe","parent_process_path":"C:\\Windows\\System32\\svchost.exe","parent_command_line":"C:\\Windows\\System32\\svchost.exe -k netsvcs -p -s Schedule","parent_pid":1184,"integrity_level":"High","signed":true,"signer":"Microsoft Windows","hash_sha256":"9f914d42706fe215501044acd85a32d58aaef1419d404fddfa5d3b48f66ccd9f","network_connections":[{{"src_ip":"10.20.4.17","src_port":52144,"dst_ip":"10.20.4.2","dst_host":"dc01.corp.example","port":443,"protocol":"tcp"}}],"current_directory":"C:\\Windows\\System32\\","session":"0"#
    )?;
    let rest = SIZE.saturating_sub(event.len() + 3);
    event.extend(std::iter::repeat_n(b'0', rest));
    event.extend_from_slice(br#""}}"#);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_kilobyte_of_json() {
        let (mut key, mut event) = (Vec::new(), Vec::new());
        for number in [0, 1, 59_999] {
            write(number, "bench-1", "acme", &mut key, &mut event).unwrap();
            assert_eq!(event.len(), SIZE);
            serde_json::from_slice::<serde_json::Value>(&event).unwrap();
        }
    }
}
