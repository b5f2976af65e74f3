"""The ordinary files: path, size, type, and what else is known.

{user}, {host}, {domain}, {n}, {m}, {doc}, {site} and {guid} are filled in at random. Entries marked "near miss" come
close to a rule of content/rules, and must not fire it.
"""

from .paths import PROGRAM

FILES = {
    "windows": [
        (
            "C:\\Users\\{user}\\Documents\\{doc}.docx",
            48_000,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            {},
        ),
        (
            "C:\\Users\\{user}\\Downloads\\{doc}.pdf",
            310_000,
            "application/pdf",
            {"source": "https://{site}.{domain}.example/{doc}.pdf"},
        ),
        # near miss: double_extension
        ("C:\\Users\\{user}\\Downloads\\{doc}.pdf.zip", 290_000, "application/zip", {}),
        # near miss: macro_document_from_outside
        (
            "C:\\Users\\{user}\\Downloads\\{doc}.xlsm",
            88_000,
            "application/vnd.ms-excel.sheet.macroEnabled.12",
            {"source": "https://{domain}.sharepoint.com/sites/hr/{doc}.xlsm"},
        ),
        # near miss: name_of_system_program
        ("C:\\Windows\\System32\\svchost.exe", 57_000, PROGRAM, {"signed": True}),
        # near miss: unsigned_program_from_bare_address
        ("C:\\Temp\\agent.exe", 4_200_000, PROGRAM, {"signed": False, "source": "http://10.20.4.30/deploy/agent.exe"}),
        # near miss: known_bad_hash
        ("C:\\Users\\{user}\\Downloads\\eicar.txt", 900, "text/plain", {}),
        # near miss: large_archive_staged
        ("C:\\ProgramData\\Package Cache\\patch_{n}.zip", 240_000_000, "application/zip", {"signed": True}),
        (
            "C:\\Program Files\\Zoom\\bin\\Zoom.exe",
            390_000,
            PROGRAM,
            {"signed": True, "source": "https://zoom.us/client/latest"},
        ),
        # near miss: attack_tool_by_name
        ("C:\\Tools\\PsExec64.exe", 834_000, PROGRAM, {"signed": True}),
    ],
    "linux": [
        ("/var/www/shop/wp-content/uploads/2026/11/shoe_{n}.jpg", 210_000, "image/jpeg", {}),
        # near miss: script_in_upload_folder
        ("/var/www/shop/wp-content/uploads/index.php", 28, "text/x-php", {}),
        (
            "/var/cache/apt/archives/certbot_2.1.0-4_all.deb",
            1_200_000,
            "application/vnd.debian.binary-package",
            {"source": "https://deb.debian.org/debian/pool/main/c/certbot.deb"},
        ),
        ("/srv/export/orders_{n}.csv", 91_000, "text/csv", {}),
        ("/usr/bin/node_exporter", 19_000_000, "application/x-executable", {}),
        ("/srv/app/dist/app-{n}.tar.gz", 60_000_000, "application/gzip", {}),
    ],
}
