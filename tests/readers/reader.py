"""BOOTSTRAP TOPIC COUNT [REGISTRY]: prints key, id and score of so many assessments, JSON or, with a registry, Avro."""

import io
import json
import os
import struct
import sys
import urllib.request

import fastavro
from confluent_kafka import Consumer

OPTIONS = "CYBERVAULT_KAFKA__CLIENT__"
bootstrap, topic, left, registry = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
# A secured broker is reached with what the environment has for the product.
options = {
    name.removeprefix(OPTIONS).lower().replace("_", "."): value
    for name, value in os.environ.items()
    if name.startswith(OPTIONS)
}
settings = {
    **options,
    "bootstrap.servers": bootstrap,
    "group.id": f"{topic}.python",
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
}
schemas = {}


def read(value):
    if not registry:
        return json.loads(value)
    magic, id = struct.unpack(">bI", value[:5])
    assert magic == 0, "no wire format"
    if id not in schemas:
        with urllib.request.urlopen(f"{registry[0]}/schemas/ids/{id}") as answer:
            schemas[id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[id])


consumer = Consumer(settings)
consumer.subscribe([topic])
while left > 0:
    message = consumer.poll(1)
    if message is None or message.error():
        continue
    assessment = read(message.value())
    print(message.key().decode(), assessment["assessment_id"], assessment["risk_score"], sep="\t")
    left -= 1
consumer.close()
