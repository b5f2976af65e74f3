"""The ordinary traffic, by the role of the host: where to, how much, and what was seen of it.

{user}, {host}, {domain}, {n}, {m}, {doc}, {site} and {guid} are filled in at random. Entries marked "near miss" come
close to a rule of content/rules, and must not fire it.
"""

BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
INTERNAL = {"direction": "internal"}
WINDOWS_FLOWS = [
    {
        "to": ("203.0.113.10", 443),
        "application": "tls",
        "tls_sni": "{site}.{domain}.example",
        "tls_ja3": "579ccef312d18482fc42e2b822ca2430",
    },
    {
        "to": ("203.0.113.12", 443),
        "application": "tls",
        "tls_sni": "teams.microsoft.com",
        "tls_ja3": "579ccef312d18482fc42e2b822ca2430",
    },
    {
        "to": ("203.0.113.18", 80),
        "application": "http",
        "http_method": "GET",
        "http_host": "news.example",
        "http_uri": "/story/{n}",
        "http_user_agent": BROWSER,
    },
    # near miss: download_agent_of_system_tool
    {
        "to": ("203.0.113.13", 80),
        "application": "http",
        "http_method": "GET",
        "http_host": "download.windowsupdate.com",
        "http_uri": "/d/msdownload/update/software/secu/kb50{n}.cab",
        "http_user_agent": "Microsoft BITS/7.8",
    },
    {
        "to": ("10.20.4.2", 53),
        **INTERNAL,
        "protocol": "udp",
        "application": "dns",
        "dns_query": "{site}.{domain}.example",
        "sent": (40, 90),
        "received": (60, 300),
    },
    # near miss: dns_tunnel
    {
        "to": ("10.20.4.2", 53),
        **INTERNAL,
        "protocol": "udp",
        "application": "dns",
        "sent": (60, 120),
        "received": (90, 300),
        "dns_query": "internal-a1f9c3d0b7e24c6f8a55d2e1907bb3aa-1203344556.eu-west-1.elb.amazonaws.com",
    },
    # near miss: file_sharing_protocol_to_internet
    {"to": ("10.20.4.11", 445), **INTERNAL, "application": "smb"},
    # near miss: beacon_to_usual_attack_port
    {"to": ("10.20.4.30", 4444), **INTERNAL, "application": "labsync"},
    {"to": ("10.20.4.2", 389), **INTERNAL, "application": "ldap"},
    # near miss: upload_to_file_sharing_service
    {"to": ("203.0.113.44", 443), "application": "tls", "tls_sni": "mega.nz", "sent": (2000, 9000)},
    # near miss: large_upload
    {
        "to": ("203.0.113.20", 443),
        "application": "backup",
        "tls_sni": "vault.backup.example",
        "sent": (900_000_000, 2_400_000_000),
    },
]
LINUX_FLOWS = [
    {"to": ("203.0.113.40", 443), "application": "tls", "tls_sni": "deb.debian.org"},
    {
        "to": ("10.30.0.2", 53),
        **INTERNAL,
        "protocol": "udp",
        "application": "dns",
        "dns_query": "db-01.{domain}.example",
        "sent": (40, 90),
        "received": (60, 300),
    },
    # near miss: program_from_bare_address
    {
        "to": ("10.30.0.9", 80),
        **INTERNAL,
        "application": "http",
        "http_method": "GET",
        "http_host": "10.30.0.9",
        "http_uri": "/pxe/install.sh",
        "http_user_agent": "curl/8.5.0",
    },
    # near miss: tor
    {"to": ("10.30.0.12", 9001), **INTERNAL, "application": "minio"},
    # near miss: cloud_credentials_from_metadata
    {
        "to": ("169.254.169.254", 80),
        "application": "http",
        "http_method": "GET",
        "http_host": "169.254.169.254",
        "http_uri": "/latest/meta-data/instance-id",
        "http_user_agent": "aws-sdk-go/1.55",
    },
    # near miss: remote_desktop_from_internet
    {
        "to": ("203.0.113.30", 3389),
        "direction": "inbound",
        "sent": (0, 0),
        "received": (60, 120),
        "application": "unknown",
    },
]
WEB_FLOWS = LINUX_FLOWS + [
    {
        "to": ("203.0.113.101", 443),
        "direction": "inbound",
        "application": "http",
        "http_method": "GET",
        "http_host": "shop.example",
        "http_uri": "/product/{n}",
        "http_user_agent": BROWSER,
    },
    {
        "to": ("203.0.113.102", 443),
        "direction": "inbound",
        "application": "http",
        "http_method": "POST",
        "http_host": "shop.example",
        "http_uri": "/cart/add?item={n}",
        "http_user_agent": BROWSER,
    },
    # near miss: web_shell_request
    {
        "to": ("203.0.113.103", 443),
        "direction": "inbound",
        "application": "http",
        "http_method": "GET",
        "http_host": "shop.example",
        "http_uri": "/index.php?command_palette=1",
        "http_user_agent": BROWSER,
    },
    {
        "to": ("203.0.113.104", 443),
        "direction": "inbound",
        "application": "http",
        "http_method": "GET",
        "http_host": "shop.example",
        "http_uri": "/media/uploads/2026/11/shoe_{n}.jpg",
        "http_user_agent": BROWSER,
    },
    {"to": ("10.30.1.40", 5432), **INTERNAL, "application": "postgresql"},
]
GAME_FLOWS = LINUX_FLOWS + [
    {
        "to": ("203.0.113.66", 27015),
        "direction": "inbound",
        "protocol": "udp",
        "application": "game",
        "sent": (900, 4000),
    },
]
FLOWS = {"windows": WINDOWS_FLOWS, "web": WEB_FLOWS, "database": LINUX_FLOWS, "build": LINUX_FLOWS, "game": GAME_FLOWS}
