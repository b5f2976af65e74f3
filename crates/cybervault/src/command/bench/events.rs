//! Events of 1 kB for a benchmark: one in ten of them is found by a rule.

use std::io::Write;

use cybervault_model::Timestamp;

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

/// One in so many of the mixed events is a logon that is refused …
const REFUSED: u64 = 50;
/// … and so many of one account are guessing.
pub(super) const GUESSES: u64 = 10;
/// One in so many is a connection to outside, which correlations look at: about as many as in the samples.
const OUTBOUND: u64 = 8;

/// Whether mixed event number `number` completes a correlation.
pub(super) fn completes(number: u64) -> bool {
    is_refused(number) && (number / REFUSED) % GUESSES == GUESSES - 1
}

fn is_refused(number: u64) -> bool {
    number % REFUSED == 7
}

/// The same with what correlations look at among them, a tenth of a millisecond apart.
pub(super) fn write_mixed(
    number: u64,
    id: &str,
    tenant: &str,
    key: &mut Vec<u8>,
    event: &mut Vec<u8>,
) -> std::io::Result<()> {
    let host = number % HOSTS;
    let at = Timestamp::from_millis(1_793_000_000_000 + i64::try_from(number / 10).unwrap_or(i64::MAX));
    let payload = if is_refused(number) {
        let account = number / REFUSED / GUESSES;
        let [address, domain] = [account % 250, account / 250 % 250];
        format!(
            r#"{{"Channel":"Security","EventID":4625,"Computer":"dc-{host:04}","TargetUserName":"account-{account}","LogonType":3,"IpAddress":"198.18.{domain}.{address}"}}"#
        )
    } else if number % OUTBOUND == 3 {
        let (to, bytes) = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40, number % 9000);
        format!(
            r#"{{"src_ip":"10.40.{}.{}","dst_ip":"203.0.{}.{}","dst_port":443,"protocol":"tcp","direction":"outbound","bytes_out":{bytes},"bytes_in":900}}"#,
            host / 250,
            host % 250,
            to / 16 % 16,
            to % 16
        )
    } else {
        return write(number, id, tenant, key, event);
    };
    let kind = if is_refused(number) { "windows_event" } else { "network_traffic" };
    key.clear();
    event.clear();
    write!(key, "{tenant}|ws-{host:04}")?;
    write!(
        event,
        r#"{{"event_id":"{id}","tenant_id":"{tenant}","type":"{kind}","occurred_at":"{at}","payload":{payload}}}"#
    )
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
