"""What lines files of KAT may have, kind by kind: `agent.verify` refuses all others."""
