-- What log sources events belong to, by the hour, and what keys those of none have.

CREATE TABLE source_hours (
    tenant_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    events BIGINT NOT NULL,
    unknown BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour)
);

CREATE TABLE log_sources (
    tenant_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    product TEXT NOT NULL,
    service TEXT NOT NULL,
    category TEXT NOT NULL,
    events BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour, product, service, category)
);

CREATE TABLE unknown_keys (
    tenant_id TEXT NOT NULL,
    keys TEXT NOT NULL,
    events BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, keys)
);
CREATE INDEX unknown_keys_by_age ON unknown_keys (tenant_id, last_at);
