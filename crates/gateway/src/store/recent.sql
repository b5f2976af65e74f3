-- What was granted of a rate limit lately, by the half second, so that no minute has more than is promised.

ALTER TABLE rate_limits ADD COLUMN recent TEXT;
