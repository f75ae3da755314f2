@echo off
rem  Packet filters of the file servers. Run as administrator on each of them.
rem  What is not named here is blocked; domain controllers and backup are trusted.

:: -- begin from nothing
netsh ipsec static delete policy name="File Servers" >nul 2>&1
netsh ipsec static delete filterlist name="All inbound" >nul 2>&1

:: -- what is done
netsh ipsec static add filteraction name="Let pass" description="Pass unmodified" action=permit
netsh ipsec static add filteraction name="Stop" description="Discard" action=block
netsh ipsec static add filteraction name="Protect" description="3DES, new keys every hour" qmpfs=no inpass=no soft=no action=negotiate qmsecmethods="ESP[3DES,SHA1]:100000k/3600s ESP[3DES,MD5]:100000k/3600s"

:: -- what it is done to
netsh ipsec static add filter filterlist="All inbound" srcaddr=any dstaddr=me description="whatever comes" protocol=any mirrored=yes
netsh ipsec static add filterlist name="Domain controllers"
netsh ipsec static add filter filterlist="Domain controllers" srcaddr=me dstaddr=10.1.0.10 description="DC1"
netsh ipsec static add filter filterlist="Domain controllers" srcaddr=me dstaddr=10.1.0.11 description="DC2"
netsh ipsec static add filter filterlist="Name service" srcaddr=me dstaddr=DNS protocol=UDP srcport=0 dstport=53
netsh ipsec static add filter filterlist="Name service" srcaddr=me dstaddr=DNS protocol=TCP srcport=0 dstport=53
netsh ipsec static add filter filterlist="SMB" srcaddr=10.1.0.0 srcmask=255.255.0.0 dstaddr=me protocol=TCP srcport=0 dstport=445
netsh ipsec static add filter filterlist="SMB" srcaddr=10.2.0.0 srcmask=16 dstaddr=me protocol=TCP srcport=0 dstport=445
netsh ipsec static add filter filterlist="Remote desktop" srcaddr=10.1.9.0 srcmask=24 dstaddr=me protocol=TCP dstport=3389
netsh ipsec static add filter filterlist="Ping" srcaddr=10.0.0.0 srcmask=8 dstaddr=me protocol=ICMP
netsh ipsec static add filter filterlist="Backup" srcaddr=backup.corp.example dstaddr=me protocol=TCP dstport=10000

:: -- together
netsh ipsec static add policy name="File Servers" description="Packet filters of the file servers" mmpfs=no qmpermm=0 mmlifetime=480 activatedefaultrule=no assign=no mmsecmethods="3DES-SHA1-3 3DES-SHA1-2 3DES-MD5-2"
netsh ipsec static add rule name="Stop the rest" policy="File Servers" filterlist="All inbound" filteraction="Stop"
netsh ipsec static add rule name="Domain" policy="File Servers" filterlist="Domain controllers" filteraction="Let pass" kerberos=yes
netsh ipsec static add rule name="Names" policy="File Servers" filterlist="Name service" filteraction="Let pass" kerberos=yes
netsh ipsec static add rule name="Files" policy="File Servers" filterlist="SMB" filteraction="Protect" conntype=lan psk="Kp7wq-2nVd0-yTz6b-Xe4mA"
netsh ipsec static add rule name="Desktop" policy="File Servers" filterlist="Remote desktop" filteraction="Let pass"
netsh ipsec static add rule name="Ping" policy="File Servers" filterlist="Ping" filteraction="Let pass"
netsh ipsec static add rule name="Backup" policy="File Servers" filterlist="Backup" filteraction="Let pass" activate=no
netsh ipsec static set policy name="File Servers" assign=yes
netsh ipsec dynamic set config property=ipsecexempt value=3
net start PolicyAgent
echo done
