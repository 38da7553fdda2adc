#!/bin/sh
# The first process of the guest: out of the root of the initial archive, from which no process can move its root
# (pivot_root(2)), into one like that of any other system.
mkdir /system
mount -t tmpfs -o mode=0755,size=75% system /system
tar -C / --one-file-system --exclude=./system --create --file=- . | tar -C /system --extract --file=-
exec switch_root /system /sbin/init
