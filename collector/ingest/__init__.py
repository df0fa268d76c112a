"""From the bytes a browser sends to calls of the domain: decoding, checks, the ordered steps of one envelope."""
