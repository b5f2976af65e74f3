"""What happens on any day, among it much that looks like an attack at first sight and is none."""

from .files import FILES
from .flows import FLOWS
from .forwarded import SYSMON
from .paths import SERVICE_PARENTS
from .programs import PROCESSES
from .records import SECONDS, Dice, connection, digest, endpoint, file, number_of, sysmon, traffic
from .world import SYSTEM

DOCUMENTS = (
    "Budget_2027",
    "Minutes_October",
    "Roster_W45",
    "Offer_Lindqvist",
    "Inventory_Q4",
    "Protocol_17",
    "Travel_Lisbon",
)
SITES = ("portal", "wiki", "tickets", "mail", "calendar", "files")


def day(tenant):
    """All ordinary events of a tenant."""
    dice = Dice(tenant.tenant_id)
    events = [anything(dice, tenant, dice.random() * SECONDS) for _ in range(tenant.ordinary)]
    for start, end, rate in tenant.bursts:
        count = int((end - start) * rate)
        # Evenly spread with a little jitter: a burst is a program's work, not people's.
        events += [burst_event(dice, tenant, start + (n + dice.random()) / rate) for n in range(count)]
    raw_hosts = [tenant.host(name) for name in tenant.raw_hosts]
    return events + [raw_event(dice, tenant, dice.pick(raw_hosts), dice.random() * SECONDS) for _ in range(tenant.raw)]


def anything(dice, tenant, at):
    """One event of a random kind on a random host: half processes, a third traffic, the rest files."""
    host, kind = dice.pick(tenant.hosts), dice.random()
    if kind < 0.55:
        return process(dice, tenant, host, at)
    if kind < 0.87:
        return flow(dice, tenant, host, at)
    return seen_file(dice, tenant, host, at)


def words(dice, tenant, host):
    """What the catalogue's texts leave open."""
    return {
        "user": host.user.rsplit("\\", 1)[-1],
        "host": host.name,
        "domain": tenant.short,
        "n": dice.between(100, 9999),
        "m": dice.between(1, 28),
        "doc": dice.pick(DOCUMENTS),
        "site": dice.pick(SITES),
        "guid": "{" + digest(f"{host.name}{dice.between(1, 9)}")[:8] + "-4c1f-4b7e-9d53-0f6a2c7e81b4}",
    }


def filled(value, open_words):
    """`value` with its {placeholders} filled in, whatever lists and objects they stand in."""
    if isinstance(value, str):
        for name, word in open_words.items():
            value = value.replace("{" + name + "}", str(word))
        return value
    if isinstance(value, list):
        return [filled(item, open_words) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, open_words) for key, item in value.items()}
    return value


def process(dice, tenant, host, at):
    image, command, parent, observed = dice.pick(PROCESSES[host.role])
    observed = filled(observed, words_here := words(dice, tenant, host))
    user = observed.pop("user", None) or (SYSTEM if parent in SERVICE_PARENTS else None)
    if site := observed.pop("connects", None):
        name, ip, port = site
        observed["network_connections"] = [connection(host, ip, port, name)]
    return endpoint(
        at,
        host,
        filled(image, words_here),
        filled(command, words_here),
        parent=filled(parent, words_here),
        user=user,
        **observed,
    )


def flow(dice, tenant, host, at):
    seen = filled(dict(dice.pick(FLOWS["windows" if host.os == "windows" else host.role])), words(dice, tenant, host))
    ip, port = seen.pop("to")
    low, high = seen.pop("sent", (400, 60_000))
    sent = dice.between(low, high)
    received = dice.between(*seen.pop("received", (600, 900_000)))
    return traffic(at, host, ip, port, sent=sent, received=received, **seen)


def seen_file(dice, tenant, host, at):
    path, size, mime, rest = dice.pick(FILES[host.os])
    open_words = words(dice, tenant, host)
    return file(at, host, filled(path, open_words), size + dice.between(0, size // 3), mime, **filled(rest, open_words))


def burst_event(dice, tenant, at):
    """What the noisy customer's game servers pour out when a match starts: players connecting, and little else."""
    host = dice.pick([host for host in tenant.hosts if host.role == "game"])
    player = f"203.0.113.{dice.between(2, 250)}"
    return traffic(
        at,
        host,
        player,
        27015,
        sent=dice.between(900, 4000),
        received=dice.between(400, 2500),
        protocol="udp",
        direction="inbound",
        application="game",
        duration=dice.between(30, 900),
    )


def raw_event(dice, tenant, host, at):
    event_id, fields = dice.pick(SYSMON)
    fields = filled(fields, words(dice, tenant, host))
    if event_id == 1:
        name = fields["Image"].rsplit("\\", 1)[-1]
        fields["Hashes"] = f"SHA1={digest(name, 'sha1')},MD5={digest(name, 'md5')},SHA256={digest(name)}"
        fields["ProcessGuid"] = (
            "{" + digest(f"{host.name}{at}")[:8] + f"-{number_of(at):04x}-6907-0000-0010a4c20000" + "}"
        )
    return sysmon(at, host, event_id, tenant.short.upper(), **fields)
