"""Sign-in with tokens of OpenID Connect issuers: of people, and of workloads such as CI jobs and pods."""
