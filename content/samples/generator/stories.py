"""Who is attacked: three tenants from first access to impact, and two with one small find each."""

from . import bank, hospital, shop, world
from .records import Event, file, traffic


def of(tenant_id):
    """What the attackers do at a tenant."""
    story = STORIES.get(tenant_id)
    return story() if story else []


def developer_shows_a_build():
    desk = world.PIXEL.host("px-0102")
    return [
        traffic(
            57.3,
            desk,
            "203.0.113.60",
            443,
            sent=88_000,
            received=41_000,
            application="tls",
            tls_sni="tunnel.us.ngrok.io",
        )
    ]


def test_file():
    """EICAR's test file has real hashes, not invented ones."""
    event = file(
        131.0,
        world.CIVIC.host("cw-0104"),
        "C:\\Users\\dirk\\Downloads\\eicar.com",
        68,
        "text/plain",
        source="https://eicar.example/eicar.com",
    )
    return [
        Event(
            event.at,
            event.kind,
            {
                **event.payload,
                "hash_sha256": "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
                "hash_sha1": "3395856ce81f2b7382dee72602f798b642f14140",
                "hash_md5": "44d88612fea8a8f36de82e1278abb02f",
            },
        )
    ]


STORIES = {
    "acme-health": hospital.story,
    "harbor-bank": bank.story,
    "northwind-retail": shop.story,
    "pixel-games": developer_shows_a_build,
    "civic-works": test_file,
}
