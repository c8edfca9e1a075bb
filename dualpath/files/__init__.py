"""Where data is kept: files of this machine, or objects of a store such as S3; written so that no crash harms."""
