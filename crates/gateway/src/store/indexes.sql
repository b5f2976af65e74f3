-- What leads to rows by one value, in the order of time.

DROP INDEX assessments_by_severity;
CREATE INDEX assessments_by_severity ON assessments (tenant_id, severity, created_at, assessment_id);
CREATE INDEX assessments_by_event ON assessments (tenant_id, event_id, created_at, assessment_id);
DROP INDEX assessment_entities_by_value;
CREATE INDEX assessment_entities_by_value ON assessment_entities (tenant_id, value, created_at, assessment_id, kind);
CREATE INDEX assessment_attack_by_technique ON assessment_attack (tenant_id, technique_id, created_at, assessment_id);
DROP INDEX actions_by_target;
CREATE INDEX actions_by_target ON actions (tenant_id, target, created_at, action_id);
DROP INDEX actions_of_assessment;
CREATE INDEX actions_of_assessment ON actions (tenant_id, assessment_id, created_at, action_id);
