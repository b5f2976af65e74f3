"""Where Windows keeps the programs that many events name."""

EXPLORER, SERVICES, SVCHOST = (
    "C:\\Windows\\explorer.exe",
    "C:\\Windows\\System32\\services.exe",
    "C:\\Windows\\System32\\svchost.exe",
)
CMD, POWERSHELL = "C:\\Windows\\System32\\cmd.exe", "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
OFFICE, CHROME = (
    "C:\\Program Files\\Microsoft Office\\root\\Office16\\",
    "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
)
SYS32 = "C:\\Windows\\System32\\"
SERVICE_PARENTS = (SERVICES, SVCHOST, "C:\\Windows\\CCM\\CcmExec.exe")
PROGRAM = "application/x-dosexec"
