#!/bin/bash
# Makes a real bootable disk of Debian's packages: a GPT disk of 48 MiB whose EFI partition boots iPXE.
#   boot-image.sh OUTPUT.raw
. "$(dirname "$0")/lib.sh"
"$(dirname "$0")/packages.sh" /boot/ipxe.efi=ipxe mformat=mtools sfdisk=fdisk >&2
output=$1; start=2048; sectors=$(( 46 * 2048 ))
truncate -s 48M "$output"
printf 'label: gpt\nstart=%s, size=%s, type=uefi, name=EFI\n' "$start" "$sectors" | sfdisk --quiet "$output" >&2
partition="$output@@$(( start * 512 ))"
mformat -i "$partition" -T "$sectors" -h 255 -s 63 -v EMBERGLASS ::
mmd -i "$partition" ::/EFI ::/EFI/BOOT
mcopy -i "$partition" /boot/ipxe.efi ::/EFI/BOOT/BOOTX64.EFI
