//! Types and file formats that the handler and the service share.
