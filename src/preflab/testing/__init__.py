"""The public conformance kit: laws that every oracle and every reward learner keeps."""
