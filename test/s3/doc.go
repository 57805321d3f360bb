// Package s3 pins Versity's S3 gateway, which internal/testenv builds and starts as a second
// implementation of S3: it keeps objects as files and answers at once where the disk is full.
package s3
