"""Records that are no events, each wrong in its own way; README.md beside the samples says what is expected of each."""


def nested(depth):
    """An event whose payload goes `depth` levels down."""
    return b'{"type":"file_hash","tenant_id":"civic-works","payload":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


LINES = (
    b'{"type":"endpoint_telemetry","tenant_id":"acme-health","payload":{"process_name":"chrome.exe","pid":41',
    b'{"type":"network_traffic","payload":{"src_ip":"10.20.7.101","dst_ip":"203.0.113.10","dst_port":443}}',
    b'[{"type":"file_hash","tenant_id":"harbor-bank","payload":{}}]',
    b'{"type":"file_hash","tenant_id":"northwind-retail","payload":"orders.csv"}',
    b'{"type":"file_hash","tenant_id":"no such tenant!","payload":{"file_name":"a.txt"}}',
    b'{"type":"endpoint_telemetry","tenant_id":"pixel-games","event_id":17,"payload":{"process_name":"arena-server"}}',
    b'{"type":"file_hash","tenant_id":"civic-works","payload":{"file_name":"caf\xe9.txt"}}',
    b"<Event><System><EventID>4624</EventID></System></Event>",
    nested(100),
)
