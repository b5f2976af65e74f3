-- Incidents as they were told last, who and what took part in them, and which findings they have.

CREATE TABLE incidents (
    tenant_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    risk_score BIGINT NOT NULL,
    findings BIGINT NOT NULL,
    status TEXT NOT NULL,
    verdict TEXT NOT NULL,
    assignee TEXT NOT NULL,
    tactics TEXT NOT NULL,
    techniques TEXT NOT NULL,
    merged_into TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant_id, incident_id)
);
CREATE UNIQUE INDEX incidents_by_seq ON incidents (seq);
CREATE INDEX incidents_of_tenant_by_seq ON incidents (tenant_id, seq);
CREATE INDEX incidents_by_time ON incidents (tenant_id, created_at, incident_id);
CREATE INDEX incidents_by_update ON incidents (tenant_id, updated_at, incident_id);
CREATE INDEX incidents_by_last ON incidents (tenant_id, last_at, incident_id);
CREATE INDEX incidents_by_score ON incidents (tenant_id, risk_score, incident_id);
CREATE INDEX incidents_by_severity ON incidents (tenant_id, severity, created_at, incident_id);
CREATE INDEX incidents_by_status ON incidents (tenant_id, status, created_at, incident_id);
CREATE INDEX incidents_merged ON incidents (tenant_id, merged_into);

CREATE TABLE incident_entities (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    incident_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, incident_id, kind, value)
);
CREATE INDEX incident_entities_by_value ON incident_entities (tenant_id, value, created_at, incident_id);

CREATE TABLE incident_findings (
    tenant_id TEXT NOT NULL,
    assessment_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, assessment_id)
);
CREATE INDEX incident_findings_of ON incident_findings (tenant_id, incident_id);
