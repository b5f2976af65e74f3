"""The ordinary programs, by the role of the host: image, command line, parent, and what else was observed.

{user}, {host}, {domain}, {n}, {m}, {doc}, {site} and {guid} are filled in at random. Entries marked "near miss" come
close to a rule of content/rules, and must not fire it.
"""

from .paths import CHROME, CMD, EXPLORER, OFFICE, POWERSHELL, SERVICES, SVCHOST, SYS32

DESK = [
    (CHROME, f'"{CHROME}" --type=renderer --lang=en-GB --renderer-client-id={{n}}', CHROME, {}),
    (
        CHROME,
        f'"{CHROME}" https://{{site}}.{{domain}}.example/',
        EXPLORER,
        {"connects": ("{site}.{domain}.example", "203.0.113.10", 443)},
    ),
    (
        "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
        '"firefox.exe" -contentproc -childID {m} -isForBrowser',
        "C:\\Program Files\\Mozilla Firefox\\firefox.exe",
        {"dns_queries": ["{site}.{domain}.example", "www.torproject.org"]},
    ),
    (
        OFFICE + "WINWORD.EXE",
        f'"{OFFICE}WINWORD.EXE" /n "C:\\Users\\{{user}}\\Documents\\{{doc}}.docx" /o ""',
        EXPLORER,
        {"file_writes": [{"path": "C:\\Users\\{user}\\Documents\\~$dget_{n}.docx"}]},
    ),
    # near miss: files_encrypted
    (
        OFFICE + "EXCEL.EXE",
        f'"{OFFICE}EXCEL.EXE" "C:\\Users\\{{user}}\\Documents\\{{doc}}.xlsx"',
        EXPLORER,
        {"file_writes": [{"path": "C:\\Users\\{user}\\Documents\\{doc}.xlsx.tmp"}]},
    ),
    (
        OFFICE + "OUTLOOK.EXE",
        f'"{OFFICE}OUTLOOK.EXE"',
        EXPLORER,
        {"connects": ("mail.{domain}.example", "203.0.113.11", 443)},
    ),
    # near miss: office_starts_script_host
    ("C:\\Windows\\splwow64.exe", "C:\\Windows\\splwow64.exe 8192", OFFICE + "WINWORD.EXE", {}),
    # near miss: run_key_to_writable_folder
    (
        "C:\\Users\\{user}\\AppData\\Local\\Microsoft\\OneDrive\\OneDrive.exe",
        '"OneDrive.exe" /background',
        EXPLORER,
        {
            "registry": [
                {
                    "key": "HKU\\S-1-5-21-1004-2210-{n}\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\OneDrive",
                    "value": '"C:\\Users\\{user}\\AppData\\Local\\Microsoft\\OneDrive\\OneDrive.exe" /background',
                    "operation": "set",
                }
            ]
        },
    ),
    (
        "C:\\Program Files\\Microsoft Teams\\ms-teams.exe",
        '"ms-teams.exe" --system-initiated',
        EXPLORER,
        {"connects": ("teams.microsoft.com", "203.0.113.12", 443)},
    ),
    (SYS32 + "rundll32.exe", "rundll32.exe C:\\Windows\\System32\\shell32.dll,Control_RunDLL desk.cpl", EXPLORER, {}),
    # near miss: script_host_connects_outside
    (
        SYS32 + "rundll32.exe",
        "rundll32.exe printui.dll,PrintUIEntry /in /n \\\\prn01\\floor{m}",
        EXPLORER,
        {"connects": ("prn01.{domain}.example", "10.20.4.60", 445)},
    ),
    # near miss: mshta_runs_remote_or_inline_script
    (SYS32 + "mshta.exe", 'mshta.exe "C:\\Program Files\\LabPrinter\\setup.hta"', EXPLORER, {}),
    (SYS32 + "ipconfig.exe", "ipconfig /all", CMD, {}),
    (SYS32 + "whoami.exe", "whoami", CMD, {}),
    (SYS32 + "net.exe", "net use H: \\\\fs02\\home\\{user} /persistent:no", CMD, {}),
    ("C:\\Program Files\\7-Zip\\7zFM.exe", '"7zFM.exe" "C:\\Users\\{user}\\Downloads\\{doc}.zip"', EXPLORER, {}),
    (
        "C:\\Program Files\\Notepad++\\notepad++.exe",
        '"notepad++.exe" "C:\\Users\\{user}\\Documents\\list_{n}.txt"',
        EXPLORER,
        {},
    ),
    (
        "C:\\Program Files\\Zoom\\bin\\Zoom.exe",
        '"Zoom.exe" --url=zoommtg://join?confno={n}',
        CHROME,
        {"connects": ("zoom.us", "203.0.113.14", 443)},
    ),
    # near miss: remote_access_tool_without_questions
    ("C:\\Program Files (x86)\\AnyDesk\\AnyDesk.exe", '"AnyDesk.exe" --control', SERVICES, {}),
]
WINDOWS_SERVICE = [
    (SVCHOST, "C:\\Windows\\system32\\svchost.exe -k netsvcs -p -s Schedule", SERVICES, {}),
    # near miss: system_binary_to_port_4444
    (
        SVCHOST,
        "C:\\Windows\\system32\\svchost.exe -k LocalServiceNetworkRestricted -p",
        SERVICES,
        {"connects": ("settings-win.data.microsoft.com", "203.0.113.13", 443)},
    ),
    (SYS32 + "taskhostw.exe", "taskhostw.exe KEYROAMING", SVCHOST, {}),
    (SYS32 + "wbem\\WmiPrvSE.exe", "C:\\Windows\\system32\\wbem\\wmiprvse.exe -secured -Embedding", SVCHOST, {}),
    # near miss: lsass_memory_access
    (
        "C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.26090.5\\MsMpEng.exe",
        '"MsMpEng.exe"',
        SERVICES,
        {"target_process": "C:\\Windows\\System32\\lsass.exe", "granted_access": "0x1410"},
    ),
    # near miss: lsass_memory_access
    (
        "C:\\Program Files\\Inventory\\agent.exe",
        '"agent.exe" --scan processes',
        SERVICES,
        {"target_process": "C:\\Windows\\System32\\lsass.exe", "granted_access": "0x1000"},
    ),
    # near miss: encoded_powershell
    (
        POWERSHELL,
        "powershell.exe -NoProfile -ExecutionPolicy Bypass -EncodedCommand "
        "RwBlAHQALQBDAGkAbQBJAG4AcwB0AGEAbgBjAGUAIABXAGkAbgAzADIAXwBCAEkATwBTAA==",
        "C:\\Windows\\CCM\\CcmExec.exe",
        {},
    ),
    (
        POWERSHELL,
        "powershell.exe -NoProfile -ExecutionPolicy RemoteSigned -File C:\\Scripts\\Inventory.ps1 -Encoding utf8",
        SVCHOST,
        {},
    ),
    # near miss: certutil_fetches_or_decodes
    (SYS32 + "certutil.exe", "certutil.exe -hashfile C:\\Temp\\agent_{n}.msi SHA256", CMD, {}),
    # near miss: system_program_loads_library_from_profile
    (
        SYS32 + "msiexec.exe",
        "C:\\Windows\\system32\\msiexec.exe /V",
        SERVICES,
        {"loaded_modules": [{"path": "C:\\Windows\\Temp\\MSI{n}.tmp", "signed": True}]},
    ),
    (
        SYS32 + "usoclient.exe",
        "usoclient.exe StartScan",
        SVCHOST,
        {"connects": ("download.windowsupdate.com", "203.0.113.13", 80)},
    ),
]
SERVER = WINDOWS_SERVICE + [
    # near miss: shadow_copies_deleted
    (SYS32 + "vssadmin.exe", "vssadmin.exe list shadows /for=D:", CMD, {}),
    # near miss: recovery_switched_off
    (SYS32 + "wbadmin.exe", "wbadmin start backup -backupTarget:\\\\bak01\\{host} -include:D: -quiet", SVCHOST, {}),
    (SYS32 + "Robocopy.exe", "robocopy D:\\Shares E:\\Mirror /MIR /R:3 /W:5 /LOG:C:\\Logs\\mirror_{m}.log", CMD, {}),
    # near miss: scheduled_task_with_script
    (
        SYS32 + "schtasks.exe",
        'schtasks /create /tn "Nightly export {m}" /sc daily /st 23:00 /tr "C:\\Program Files\\Backup\\agent.exe '
        '--incremental" /ru SYSTEM',
        CMD,
        {},
    ),
    # near miss: event_log_cleared
    (SYS32 + "wevtutil.exe", "wevtutil.exe epl Security C:\\Backup\\security_{m}.evtx", CMD, {}),
    # near miss: registry_hive_with_secrets_saved
    (
        SYS32 + "reg.exe",
        "reg export HKLM\\SYSTEM\\CurrentControlSet\\Services\\LabSync C:\\Temp\\labsync.reg /y",
        CMD,
        {},
    ),
    # near miss: wmic_starts_process_elsewhere
    (SYS32 + "wbem\\WMIC.exe", "wmic /node:{host} os get Caption,LastBootUpTime", CMD, {}),
    # near miss: domain_trust_and_admin_discovery
    (SYS32 + "nltest.exe", "nltest /sc_verify:{domain}.example", CMD, {}),
    # near miss: firewall_switched_off
    (
        SYS32 + "netsh.exe",
        'netsh advfirewall firewall add rule name="LabSync" dir=in action=allow '
        'program="C:\\Program Files\\LabSync\\labsync.exe"',
        CMD,
        {},
    ),
    # near miss: system_binary_to_port_4444
    (
        "C:\\Program Files\\LabSync\\labsync.exe",
        "labsync.exe --peer APP01",
        SERVICES,
        {"connects": ("app01.{domain}.example", "10.20.4.30", 4444)},
    ),
    # near miss: lsass_dump_by_system_tool
    ("C:\\Tools\\procdump64.exe", "procdump64.exe -ma -accepteula w3wp.exe C:\\Dumps\\w3wp_{n}.dmp", CMD, {}),
    (
        "C:\\Program Files\\Backup\\agent.exe",
        '"agent.exe" --incremental --job {n}',
        SERVICES,
        {
            "connects": ("bak01.{domain}.example", "10.20.4.70", 10006),
            "file_writes": [{"path": "E:\\Backup\\job_{n}.vbk"}],
        },
    ),
    # near miss: defender_weakened
    (POWERSHELL, 'powershell -c "(Get-MpPreference).ExclusionPath"', CMD, {}),
]
LINUX = [
    ("/usr/sbin/cron", "/usr/sbin/CRON -f", "/usr/sbin/cron", {"user": "root"}),
    (
        "/usr/bin/apt-get",
        "apt-get -qq update",
        "/usr/bin/dash",
        {"user": "root", "connects": ("deb.debian.org", "203.0.113.40", 443)},
    ),
    # near miss: cron_file_written
    (
        "/usr/bin/dpkg",
        "dpkg --unpack certbot_2.1.0-4_all.deb",
        "/usr/bin/apt-get",
        {"user": "root", "file_writes": [{"path": "/etc/cron.d/certbot.dpkg-new"}]},
    ),
    # near miss: traces_removed
    ("/usr/bin/rm", "rm -f /var/log/nginx/access.log.{m}.gz", "/usr/sbin/logrotate", {"user": "root"}),
    # near miss: password_file_read
    ("/usr/bin/stat", "stat -c %a /etc/shadow", "/usr/bin/bash", {"user": "root"}),
    # near miss: authorized_keys_written
    (
        "/usr/bin/python3.11",
        "python3 /home/deploy/.ansible/tmp/AnsiballZ_authorized_key.py",
        "/usr/bin/ansible-playbook",
        {"user": "deploy", "file_writes": [{"path": "/home/deploy/.ssh/authorized_keys"}]},
    ),
    (
        "/usr/bin/nc.openbsd",
        "nc -zv db-01 5432",
        "/usr/bin/bash",
        {"user": "deploy", "connects": ("db-01", "10.30.1.40", 5432)},
    ),
    # near miss: protection_switched_off
    ("/usr/bin/systemctl", "systemctl restart rsyslog", "/usr/bin/sudo", {"user": "root"}),
    # near miss: cron_job_that_downloads
    ("/usr/bin/bash", "bash -c crontab -l > /var/backups/crontab.{m}", "/usr/sbin/cron", {"user": "root"}),
    # near miss: rclone_to_cloud
    (
        "/usr/bin/rclone",
        "rclone copy /srv/export backup:nightly --transfers 4",
        "/usr/local/sbin/backup-nightly",
        {"user": "backup", "connects": ("bak01.{domain}.example", "10.20.4.70", 443)},
    ),
    ("/usr/bin/sshd-session", "sshd-session: deploy [priv]", "/usr/sbin/sshd", {"user": "root"}),
    (
        "/usr/bin/node_exporter",
        "node_exporter --collector.systemd --web.listen-address=:9100",
        "/usr/lib/systemd/systemd",
        {},
    ),
    # near miss: sudo_rule_or_suid_granted
    ("/usr/sbin/visudo", "visudo -cf /etc/sudoers.d/90-deploy", "/usr/bin/bash", {"user": "root"}),
]
WEB = LINUX + [
    # near miss: web_server_starts_shell
    ("/usr/bin/dash", "sh -c /usr/sbin/sendmail -t -i", "/usr/sbin/php-fpm8.2", {"user": "www-data"}),
    (
        "/usr/sbin/php-fpm8.2",
        "php-fpm: pool www",
        "/usr/sbin/php-fpm8.2",
        {"user": "www-data", "connects": ("db-01", "10.30.1.40", 5432)},
    ),
    ("/usr/sbin/nginx", "nginx: worker process", "/usr/sbin/nginx", {"user": "www-data"}),
    (
        "/usr/bin/php8.2",
        "php /var/www/shop/bin/console messenger:consume async --limit={n}",
        "/usr/lib/systemd/systemd",
        {"user": "www-data"},
    ),
]
DATABASE = LINUX + [
    ("/usr/lib/postgresql/17/bin/postgres", "postgres: checkpointer", "/usr/lib/postgresql/17/bin/postgres", {}),
    ("/usr/bin/pg_dump", "pg_dump -Fc -f /srv/backup/shop_{m}.dump shop", "/usr/local/sbin/backup-nightly", {}),
    ("/usr/bin/psql", "psql -c VACUUM(ANALYZE) shop", "/usr/sbin/cron", {}),
]
BUILD = LINUX + [
    # near miss: escape_from_container
    ("/usr/bin/docker", "docker run --rm -v /srv/app:/app node:22 npm ci", "/usr/bin/bash", {}),
    # near miss: download_from_address_into_shell
    (
        "/usr/bin/bash",
        "bash -c curl -fsSL https://get.toolchain.example/install.sh | sh -s -- -y",
        "/usr/bin/ci-runner",
        {},
    ),
    # near miss: file_uploaded_by_curl
    ("/usr/bin/curl", "curl -fsS -T build/app-{n}.tar.gz https://artifacts.internal/releases/", "/usr/bin/bash", {}),
    # near miss: program_hidden_in_temporary_folder
    ("/tmp/go-build{n}/exe/main", "/tmp/go-build{n}/exe/main -test.v", "/usr/local/go/bin/go", {}),
    (
        "/usr/bin/git",
        "git fetch --depth 1 origin main",
        "/usr/bin/ci-runner",
        {"file_writes": [{"path": "/srv/ci/src/README.md"}]},
    ),
    # near miss: tunnel_program
    ("/usr/bin/ssh", "ssh -N -L 5432:db-01:5432 bastion", "/usr/bin/bash", {}),
    ("/usr/bin/cargo", "cargo build --release --locked", "/usr/bin/ci-runner", {}),
]
GAME = LINUX + [
    (
        "/srv/game/bin/arena-server",
        "arena-server -map docks -port 27015 -tick 64 -match {n}",
        "/srv/game/bin/supervisor",
        {},
    ),
    ("/srv/game/bin/matchmaker", "matchmaker --region eu --pool {m}", "/srv/game/bin/supervisor", {}),
]
PROCESSES = {
    "desk": DESK + WINDOWS_SERVICE,
    "server": SERVER,
    "web": WEB,
    "database": DATABASE,
    "build": BUILD,
    "game": GAME,
}
