"""What Sysmon tells on an ordinary day, by event id.

{user}, {host}, {domain}, {n}, {m}, {doc}, {site} and {guid} are filled in at random. Entries marked "near miss" come
close to a rule of content/rules, and must not fire it.
"""

from .paths import POWERSHELL, SERVICES, SVCHOST, SYS32

SYSMON = [
    (
        1,
        {
            "Image": SVCHOST,
            "CommandLine": "C:\\Windows\\system32\\svchost.exe -k netsvcs -p -s BITS",
            "User": "NT AUTHORITY\\SYSTEM",
            "ParentImage": SERVICES,
            "ParentCommandLine": "C:\\Windows\\system32\\services.exe",
            "OriginalFileName": "svchost.exe",
            "IntegrityLevel": "System",
            "CurrentDirectory": "C:\\Windows\\system32\\",
        },
    ),
    # near miss: shadow_copies_deleted
    (
        1,
        {
            "Image": SYS32 + "vssadmin.exe",
            "CommandLine": "vssadmin list writers",
            "User": "NT AUTHORITY\\SYSTEM",
            "ParentImage": "C:\\Program Files\\Backup\\agent.exe",
            "ParentCommandLine": '"agent.exe" --incremental --job {n}',
            "OriginalFileName": "VSSADMIN.EXE",
            "IntegrityLevel": "System",
            "CurrentDirectory": "C:\\Windows\\system32\\",
        },
    ),
    (
        1,
        {
            "Image": SYS32 + "conhost.exe",
            "CommandLine": "\\??\\C:\\Windows\\system32\\conhost.exe 0xffffffff -ForceV1",
            "User": "NT AUTHORITY\\SYSTEM",
            "ParentImage": POWERSHELL,
            "ParentCommandLine": "powershell.exe -File C:\\Scripts\\Rotate-Logs.ps1",
            "OriginalFileName": "CONHOST.EXE",
            "IntegrityLevel": "System",
            "CurrentDirectory": "C:\\Windows\\",
        },
    ),
    (
        3,
        {
            "Image": SYS32 + "lsass.exe",
            "User": "NT AUTHORITY\\SYSTEM",
            "Protocol": "tcp",
            "Initiated": "true",
            "SourceIp": "10.20.4.11",
            "SourcePort": "5{n}",
            "DestinationIp": "10.20.4.2",
            "DestinationPort": "88",
            "DestinationHostname": "dc01.{domain}.example",
        },
    ),
    (
        7,
        {
            "Image": SVCHOST,
            "ImageLoaded": SYS32 + "dbghelp.dll",
            "Signed": "true",
            "Signature": "Microsoft Windows",
            "SignatureStatus": "Valid",
            "OriginalFileName": "DBGHELP.DLL",
            "User": "NT AUTHORITY\\SYSTEM",
        },
    ),
    # near miss: lsass_memory_access
    (
        10,
        {
            "SourceImage": SVCHOST,
            "TargetImage": SYS32 + "lsass.exe",
            "GrantedAccess": "0x1000",
            "CallTrace": "C:\\Windows\\SYSTEM32\\ntdll.dll+9d4c4|C:\\Windows\\System32\\KERNELBASE.dll+2c13e",
            "SourceUser": "NT AUTHORITY\\SYSTEM",
            "TargetUser": "NT AUTHORITY\\SYSTEM",
        },
    ),
    # near miss: files_encrypted
    (
        11,
        {
            "Image": "C:\\Program Files\\Backup\\agent.exe",
            "TargetFilename": "E:\\Backup\\{doc}.xlsx.{n}",
            "User": "NT AUTHORITY\\SYSTEM",
            "CreationUtcTime": "2026-11-02 08:59:{m}.000",
        },
    ),
    # near miss: remote_desktop_switched_on
    (
        13,
        {
            "EventType": "SetValue",
            "Image": SVCHOST,
            "Details": "DWORD (0x00000001)",
            "User": "NT AUTHORITY\\SYSTEM",
            "TargetObject": "HKLM\\System\\CurrentControlSet\\Control\\Terminal Server\\fDenyTSConnections",
        },
    ),
    (
        22,
        {
            "Image": SYS32 + "dns.exe",
            "QueryName": "{site}.{domain}.example",
            "QueryStatus": "0",
            "QueryResults": "::ffff:203.0.113.10;",
            "User": "NT AUTHORITY\\SYSTEM",
        },
    ),
]
